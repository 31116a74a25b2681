"""The kinds of launchers there are, and which of them some settings name."""

from typing import Any

from launchers.worker_group import Launcher

LOCAL = "local"
KUBERNETES = "kubernetes"


def make_launcher(settings: dict[str, Any]) -> Launcher:
    """The launcher that `settings["kind"]` names; the other settings are its own.

    Raises:
      ValueError: if there is none of that kind.
    """
    # Imported late: a cluster's client is not needed on a laptop.
    own = {name: value for name, value in settings.items() if name != "kind"}
    if settings.get("kind") == LOCAL:
        from launchers.local import launcher as local

        return local.LocalLauncher(**own)
    if settings.get("kind") == KUBERNETES:
        from launchers.kubernetes import launcher as kubernetes

        return kubernetes.make_launcher(own)
    raise ValueError(f"launcher {settings.get('kind')!r} is not known: {LOCAL} or {KUBERNETES}.")
