"""One training job from examples to an exported model: what each Trainer node does."""

import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from trainer import features, fits
from trainer.backbone_models import (
    RANDOM,
    boundary_layer,
    calibrate_batch_norm,
    load_backbone,
    preprocess_input,
)
from trainer.backbones import BACKBONES
from trainer.data import batches, read_examples
from trainer.data_card import DataCard
from trainer.distribution import make_deterministic, make_strategy
from trainer.export import Card, export_saved_model
from trainer.model import ModelSpec, build_classifier

WEIGHTS_FILE = os.path.join("warm_start", "classifier.weights.h5")
HISTORY_FILE = "history.json"

_CALIBRATION_IMAGES = 64


@dataclass(frozen=True)
class Job:
    """What both fits need to know besides their own rates.

    Attributes:
      spec: shape of the classifier.
      weights: of the backbone: `imagenet`, `random` or a path; fit 1 only.
      labels: class names in the order of their ids.
      data_card: counts per split, fingerprint.
      train_files: globs of the training split; `val_files` likewise.
      global_batch_size: images in one step over all replicas.
      seed: decides the head's first weights and the order of the images.
      max_pixels: the exported model refuses larger files.
      config: goes into the exported model as it is.
      model_dir: folder of the model artifact. Holds the warm start and the history.
      saved_model_dir: where the SavedModel goes.
      log_dir: TensorBoard logs and a copy of the history.
    """

    spec: ModelSpec
    weights: str
    labels: Sequence[str]
    data_card: DataCard
    train_files: Sequence[str]
    val_files: Sequence[str]
    global_batch_size: int
    seed: int
    max_pixels: int
    config: dict[str, Any]
    model_dir: str
    saved_model_dir: str
    log_dir: str


def run_head_fit(job: Job, fit: fits.HeadFit) -> fits.FitRecord:
    """Fit 1 and its export. The first TensorFlow work of the process."""
    strategy = make_strategy()
    make_deterministic(job.seed)
    spec = job.spec
    start_backbone = load_backbone(spec.backbone, spec.image_size_px, job.weights)
    if job.weights == RANDOM:
        calibrate_batch_norm(start_backbone, _calibration_images(job))
    start = build_classifier(spec, start_backbone)
    with strategy.scope():
        backbone, model = _build(spec)
    model.set_weights(start.get_weights())
    record = fits.fit_head(model, backbone, _fit_data(job), fit, job.log_dir)
    _export(job, start, model, record)
    return record


def run_fine_tune(job: Job, fit: fits.FineTune, base_model_dir: str) -> fits.FitRecord:
    """Fit 2 from the weights that fit 1 left in `base_model_dir`, and its export."""
    strategy = make_strategy()
    make_deterministic(job.seed)
    start_backbone, start = _build(job.spec)
    boundary_layer(start_backbone, BACKBONES[job.spec.backbone], fit.boundary)
    _load_weights(start, os.path.join(base_model_dir, WEIGHTS_FILE))
    with strategy.scope():
        backbone, model = _build(job.spec, fit.train_batch_norm)
    model.set_weights(start.get_weights())
    record = fits.fine_tune(model, backbone, _fit_data(job), fit, job.log_dir)
    _export(job, start, model, record)
    return record


def _build(spec: ModelSpec, train_batch_norm: bool = False) -> tuple[keras.Model, keras.Model]:
    backbone = load_backbone(spec.backbone, spec.image_size_px, RANDOM)
    return backbone, build_classifier(spec, backbone, train_batch_norm)


def _calibration_images(job: Job) -> tf.Tensor:
    examples = read_examples(job.train_files, job.spec.image_size_px, shuffle_seed=job.seed)
    images = next(iter(examples.map(lambda image, _: image).batch(_CALIBRATION_IMAGES)))
    return preprocess_input(BACKBONES[job.spec.backbone])(tf.cast(images, tf.float32))


def _fit_data(job: Job) -> fits.FitData:
    size_px, classes = job.spec.image_size_px, job.spec.num_classes
    train = read_examples(job.train_files, size_px, shuffle_seed=job.seed)
    val = read_examples(job.val_files, size_px)
    return fits.FitData(
        train=batches(train, job.global_batch_size, classes),
        val=batches(val, job.global_batch_size, classes),
        train_steps=math.ceil(job.data_card.num_examples(features.TRAIN) / job.global_batch_size),
    )


def _export(job: Job, plain: keras.Model, trained: keras.Model, record: fits.FitRecord) -> None:
    """Exports through `plain`, a model outside the strategy, so that no replica's
    variables end up in the file.
    """
    plain.set_weights(trained.get_weights())
    card = Card(job.labels, job.config, job.data_card.to_json())
    export_saved_model(plain, job.spec.image_size_px, job.max_pixels, card, job.saved_model_dir)
    _save_weights(plain, os.path.join(job.model_dir, WEIGHTS_FILE))
    for folder in (job.model_dir, job.log_dir):
        tf.io.gfile.makedirs(folder)
        with tf.io.gfile.GFile(os.path.join(folder, HISTORY_FILE), "w") as file:
            file.write(json.dumps(record.to_json(), indent=2))


def _save_weights(model: keras.Model, path: str) -> None:
    """HDF5 writes local files only, so by way of one: `path` may be remote."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, "weights.h5")
        model.save_weights(local)
        tf.io.gfile.copy(local, path, overwrite=True)


def _load_weights(model: keras.Model, path: str) -> None:
    if not tf.io.gfile.exists(path):
        raise ValueError(
            f"{path} is missing: fit 2 starts from the weights that fit 1 leaves there."
        )
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, "weights.h5")
        tf.io.gfile.copy(path, local)
        model.load_weights(local)
