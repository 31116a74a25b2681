"""Shared places: real photographs and weights, where a checkout has them beside it."""

import os
import signal
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

# Before anything imports TensorFlow: no greeting on stderr, and the Keras that trains.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import trainer  # noqa: F401

# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure.
hypothesis.settings.register_profile(
    "thaw", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("thaw")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
SIGN_LANGUAGE = SHARED / "data" / "sign_language_digits"
IMAGENET_WEIGHTS = SHARED / "weights" / "mobilenet_v2_imagenet_224px_notop.weights.h5"
CIFAR_WEIGHTS = SHARED / "weights" / "inception_v3_cifar10_75px_notop.weights.h5"


@pytest.fixture(scope="session")
def sign_language_dir() -> Path:
    if not SIGN_LANGUAGE.is_dir():
        pytest.skip(f"needs the photographs of {SIGN_LANGUAGE}, which are not part of the project")
    return SIGN_LANGUAGE


@pytest.fixture(scope="session")
def cifar_weights() -> Path:
    if not CIFAR_WEIGHTS.is_file():
        pytest.skip(f"needs the weights {CIFAR_WEIGHTS}, which are not part of the project")
    return CIFAR_WEIGHTS


# What takes longest begins first, so that no process is left with it at the end.
_SLOWEST_FIRST = ("e2e", "cluster", "worker_group", "components", "trainer")
# Most of e2e shares one run of the pipeline; these make their own.
_RUNS_OF_THEIR_OWN = ("e2e/test_failures.py", "e2e/test_tuning.py")


def _share(nodeid: str) -> str:
    """What one process gets as a whole: the tests of a file, or all that share a run."""
    place = nodeid.split("::")[0].removeprefix("tests/")
    folder = place.split("/")[0]
    together = folder in ("e2e", "cluster") and place not in _RUNS_OF_THEIR_OWN
    return folder if together else place


def _turn(item: pytest.Item) -> tuple[int, bool]:
    share = _share(item.nodeid)
    folder = share.split("/")[0]
    place = _SLOWEST_FIRST.index(folder) if folder in _SLOWEST_FIRST else len(_SLOWEST_FIRST)
    return place, share != folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slowest first; the order within a file stays."""
    items.sort(key=_turn)


class _Shares(LoadScopeScheduling):
    """Hands out tests by what they share. (`xdist_group` does nothing under pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        return _share(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Where tests run in several processes."""
    return _Shares(config, log)
