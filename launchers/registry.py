"""The kinds of launchers there are, and which of them some settings name."""

from collections.abc import Mapping

from launchers.worker_group import Launcher

LOCAL = "local"
KUBERNETES = "kubernetes"


def make_launcher(settings: Mapping[str, object]) -> Launcher:
    """The launcher that `settings["kind"]` names; the other settings are its own.

    Example:
      >>> make_launcher({"kind": "local"}).run(group)

    Raises:
      ValueError: if there is none of that kind, or one of its own settings is wrong.
    """
    # Imported late: a cluster's client is not needed on a laptop.
    own = {name: value for name, value in settings.items() if name != "kind"}
    if settings.get("kind") == LOCAL:
        from launchers.local import launcher as local

        return local.make_launcher(own)
    if settings.get("kind") == KUBERNETES:
        from launchers.kubernetes import launcher as kubernetes

        return kubernetes.make_launcher(own)
    raise ValueError(f"launcher {settings.get('kind')!r} is not known: {LOCAL} or {KUBERNETES}.")
