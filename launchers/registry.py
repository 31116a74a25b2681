"""The kinds of launchers there are, and which of them some settings name."""

from collections.abc import Mapping

from launchers import settings as launcher_settings
from launchers.kubernetes.settings import KubernetesSettings
from launchers.local.launcher import LocalLauncher, LocalSettings
from launchers.settings import Settings
from launchers.worker_group import Launcher
from trainer.errors import ThawError

LOCAL = "local"
KUBERNETES = "kubernetes"

_SETTINGS: dict[object, type[Settings]] = {LOCAL: LocalSettings, KUBERNETES: KubernetesSettings}


def read_settings(values: Mapping[str, object]) -> Settings:
    """Reads the settings of the launcher that `values["kind"]` names.

    Raises:
      ThawError: if there is none of that kind, or one of its own settings is wrong.
    """
    kind = values.get("kind")
    if kind not in _SETTINGS:
        raise ThawError(
            f"launcher {kind!r} is not known: {LOCAL} or {KUBERNETES}.",
            to_do="Compile the pipeline again with the version of Thaw that is in its image.",
        )
    return launcher_settings.read(_SETTINGS[kind], values)


def make_launcher(settings: Settings) -> Launcher:
    """Makes the launcher that these are the settings of.

    Example:
      >>> make_launcher(read_settings({"kind": "local"})).run(group)
    """
    if isinstance(settings, LocalSettings):
        return LocalLauncher(settings.command)
    if isinstance(settings, KubernetesSettings):
        # Imported late: a cluster's client is not needed on a laptop.
        from launchers.kubernetes.launcher import KubernetesLauncher

        return KubernetesLauncher(settings)
    raise TypeError(f"{type(settings).__name__} are the settings of no launcher.")
