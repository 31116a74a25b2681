"""Shared places: real photographs and weights, where a checkout has them beside it."""

import os
from pathlib import Path

import hypothesis
import pytest

# Before anything imports TensorFlow: no greeting on stderr, and the Keras that trains.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import trainer  # noqa: F401

# A busy machine is no failure.
hypothesis.settings.register_profile(
    "thaw", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("thaw")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
SIGN_LANGUAGE = SHARED / "data" / "sign_language_digits"
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


# Files whose tests share what takes a whole run to make: one process for all of them.
_TOGETHER = ("e2e", "cluster")
# What takes longest begins first, so that no process is left with it at the end.
_SLOWEST_FIRST = ("e2e", "cluster", "gang", "components", "trainer")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives processes that share the tests whole files, or folders that share fixtures."""
    for item in items:
        place = item.path.relative_to(Path(__file__).parent)
        together = place.parts[0] in _TOGETHER
        item.add_marker(pytest.mark.xdist_group(place.parts[0] if together else str(place)))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return _SLOWEST_FIRST.index(folder) if folder in _SLOWEST_FIRST else len(_SLOWEST_FIRST)
