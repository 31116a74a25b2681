"""A backbone of three blocks and images of two kinds: everything a fit needs, in seconds."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from trainer.calibration.fit import Fitted
from trainer.calibration.record import Calibration
from trainer.calibration.unknown import nothing_known
from trainer.data.fit_data import FitData
from trainer.distribution.strategy import make_deterministic, make_strategy
from trainer.fits.recipe import Network
from trainer.model.classifier import build_classifier
from trainer.model.parts import ClassifierParts, take_apart
from trainer.specs import ModelSpec

SIZE_PX = 16
CLASSES = 2
WIDTH = 4  # of the pooled vector


def tiny_backbone() -> keras.Model:
    """Three blocks of convolution, BatchNorm and relu, named block1 to block3."""
    keras.backend.reset_uids()
    inputs = features = keras.Input([SIZE_PX, SIZE_PX, 3])
    for number in range(1, 4):
        features = keras.layers.Conv2D(4, 3, padding="same", name=f"conv{number}")(features)
        features = keras.layers.BatchNormalization(momentum=0.5, name=f"norm{number}")(features)
        features = keras.layers.Activation("relu", name=f"block{number}")(features)
    return keras.Model(inputs, features, name="tiny")


def parts_of(model: keras.Model) -> ClassifierParts:
    """A classifier on the tiny backbone, in parts."""
    return take_apart(model, model.get_layer("tiny"), "inception_v3", None)


def nothing_fitted(width: int) -> Fitted:
    """For a model without validation images: its probabilities stay, every image is known."""
    return Fitted(Calibration(1.0, 0, 0.0, 0.0), nothing_known(width))


SPEC = ModelSpec("inception_v3", SIZE_PX, head_units=8, head_dropout=0.0, num_classes=CLASSES)


@pytest.fixture(scope="session")
def strategy() -> tf.distribute.Strategy:
    return make_strategy()


@pytest.fixture
def make_network(strategy) -> Callable[..., Network]:
    def make(train_batch_norm: bool = False) -> Network:
        make_deterministic(1)
        with strategy.scope():
            backbone = tiny_backbone()
            classifier = build_classifier(SPEC, backbone, train_batch_norm)
        return Network(classifier, backbone, classifier)

    return make


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images; those of class 1 are brighter in their left half."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    pixels = random.integers(0, 160, [count, SIZE_PX, SIZE_PX, 3])
    pixels[labels == 1, :, : SIZE_PX // 2] += 60
    return pixels.astype("uint8"), labels


@pytest.fixture
def data() -> FitData:
    def dataset(count: int, seed: int) -> tf.data.Dataset:
        # Odd: of as many images of one class as of the other the gradients of a bias can
        # cancel exactly under bfloat16, as long as the model guesses.
        batch_size = 7
        examples = tf.data.Dataset.from_tensor_slices(images(count, seed)).batch(batch_size)
        return examples.map(lambda pixels, ids: (pixels, tf.one_hot(ids, CLASSES)))

    return FitData(lambda first: dataset(24, 0).repeat(), val=dataset(16, 1), train_steps=3)


def weights_in(path: Path) -> dict[str, np.ndarray]:
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found
