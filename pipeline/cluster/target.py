"""Where a compiled pipeline runs, and what must be known for it."""

import sys
from enum import Enum

from pipeline.config.schema import Config
from trainer.errors import ThawError


class Target(str, Enum):
    """What a pipeline is compiled for."""

    KUBEFLOW = "kubeflow"
    VERTEX = "vertex"


class ClusterError(ThawError):
    """The pipeline cannot be compiled or submitted; the message says what to do."""


class Unreachable(ClusterError):
    """A service that does not answer now, or says that it cannot: a later request may succeed."""


class RunFailed(ThawError):
    """A run on a cluster did not end well; the message says which task, and why."""


def require(config: Config, *keys: str) -> None:
    """Checks that keys of two parts, such as `cluster.image`, are set.

    Raises:
      ClusterError: naming all that are not.
    """
    missing = []
    for key in keys:
        section, name = key.split(".")
        if not getattr(getattr(config, section), name):
            missing.append(key)
    if missing:
        raise ClusterError(
            f"{', '.join(missing)}: must be set for a cluster, in the config or with --set."
        )


def check_python() -> None:
    """Checks that there can be a compiler.

    Raises:
      ClusterError: on a Python that TFX has none for.
    """
    if sys.version_info >= (3, 12):
        raise ClusterError(
            "compiling needs kfp, which TFX brings for Python 3.10 and 3.11 only: "
            "set the environment up with one of them (make setup PYTHON=python3.11)."
        )
