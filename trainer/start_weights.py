"""The weights that a backbone starts from."""

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from trainer.backbones.networks import (
    RANDOM,
    LoadBackbone,
    calibrate_batch_norm,
    load_backbone,
    preprocess_input,
)
from trainer.backbones.table import BACKBONES
from trainer.data import fit_data

_CALIBRATION_IMAGES = 64


def load_start_weights(
    name: str,
    size_px: int,
    weights: str,
    train_files: Sequence[str],
    seed: int,
    load: LoadBackbone = load_backbone,
) -> keras.Model:
    """Builds a backbone ready for use.

    Args:
      name: key of `BACKBONES`.
      size_px: side of its square images.
      weights: `imagenet`, the path of an `.h5` file, or `random`: then the statistics of
        its BatchNorm layers are calibrated on 64 training images.
      train_files: globs of Transform's training examples; read for `random` only.
      seed: chooses those 64.
      load: builds the backbone.
    """
    backbone = load(name, size_px, weights)
    if weights == RANDOM:
        calibrate_batch_norm(backbone, _calibration_images(name, size_px, train_files, seed))
    return backbone


def _calibration_images(
    name: str, size_px: int, train_files: Sequence[str], seed: int
) -> tf.Tensor:
    records = fit_data.read_records(fit_data.list_files(train_files))
    shuffled = records.shuffle(fit_data.SHUFFLE_BUFFER, seed=seed).take(_CALIBRATION_IMAGES)
    images, _ = next(
        iter(fit_data.in_batches(shuffled, fit_data.image_parser(size_px), _CALIBRATION_IMAGES))
    )
    return preprocess_input(BACKBONES[name])(tf.cast(images, tf.float32))
