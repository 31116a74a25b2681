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


# What takes a whole run to make: one process for all tests that ask for it.
_SHARED_RUN = "good_run"
# What takes longest begins first, so that no process is left with it at the end.
_SLOWEST_FIRST = ("e2e", "cluster", "gang", "components", "trainer")


# Before the plugin that hands out tests reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives processes that share the tests whole files, or all that share a fixture."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=_turn)


def _place(item: pytest.Item) -> Path:
    return item.path.relative_to(Path(__file__).parent)


def _group(item: pytest.Item) -> str:
    if _SHARED_RUN in getattr(item, "fixturenames", ()):
        return _SHARED_RUN
    return "cluster" if _place(item).parts[0] == "cluster" else str(_place(item))


def _turn(item: pytest.Item) -> tuple[int, bool]:
    folder = _place(item).parts[0]
    place = _SLOWEST_FIRST.index(folder) if folder in _SLOWEST_FIRST else len(_SLOWEST_FIRST)
    return place, _group(item) != _SHARED_RUN
