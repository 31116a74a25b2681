"""Shared places: real photographs and weights, where a checkout has them beside it."""

import os
from pathlib import Path

import pytest

# Before anything imports TensorFlow: no greeting on stderr, and the Keras that trains.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import trainer  # noqa: F401

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
