"""One training job: everything that a Trainer node, or a trial, needs to know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from trainer.backbones.networks import RANDOM, LoadBackbone, load_backbone
from trainer.data.card import DataCard
from trainer.distribution.strategy import check_same_weights, make_strategy
from trainer.export import Export, export_saved_model
from trainer.fits.class_weights import class_weights
from trainer.model.classifier import build_classifier
from trainer.specs import (
    AS_IN_THE_RECIPE,
    Augmentation,
    ImageReading,
    ModelSpec,
    TrainingArgs,
    TrunkSpec,
)


@dataclass(frozen=True)
class Job:
    """What both fits need to know besides their own rates.

    Attributes:
      spec: shape of the classifier.
      labels: class names in the order of their ids.
      data_card: counts per split, fingerprint.
      train_files: globs of the training split; `val_files` likewise.
      global_batch_size: images in one step over all replicas.
      seed: decides the head's first weights and the order of the images.
      precision: what the layers compute in; see `layers_compute_in`.
      cache: what the files hold if TrunkFeatures wrote them; None: images.
      augmentation: of training images, on the fly; only if the files hold images.
      max_pixels: the exported model refuses larger files.
      reading: how the exported model makes pictures of files.
      config: goes into the exported model as it is.
      model_dir: folder of the model artifact. Holds the warm start and the history. It and
        the other two are empty for a job that leaves nothing.
      saved_model_dir: where the SavedModel goes; empty: nothing is exported.
      log_dir: TensorBoard logs and a copy of the history; empty: no logs.
      recovery_dir: where the state of the fit is kept while it runs; empty: nowhere.
      rejected_share: at most this share of the validation images counts as not known.
      class_weights: how much an image counts in the losses, by label id; empty: all alike.
      load_backbone: builds the backbone.
      make_strategy: connects to the other workers, and returns what the fit runs under.
      check_weights: compares the weights of all workers after a fit.
      export: writes the SavedModel.
    """

    spec: ModelSpec
    labels: Sequence[str]
    data_card: DataCard
    train_files: Sequence[str]
    val_files: Sequence[str]
    global_batch_size: int
    seed: int
    precision: str
    cache: TrunkSpec | None
    augmentation: Augmentation
    max_pixels: int
    config: dict[str, Any]
    model_dir: str
    saved_model_dir: str
    log_dir: str
    reading: ImageReading = AS_IN_THE_RECIPE
    recovery_dir: str = ""
    rejected_share: float = 0.02
    class_weights: tuple[float, ...] = ()
    load_backbone: LoadBackbone = load_backbone
    make_strategy: Callable[[], tf.distribute.Strategy] = make_strategy
    check_weights: Callable[[tf.distribute.Strategy, list], object] = check_same_weights
    export: Export = export_saved_model


def make_job(
    args: TrainingArgs,
    card: DataCard,
    train_files: Sequence[str],
    val_files: Sequence[str],
    folders: tuple[str, str, str] = ("", "", ""),
) -> Job:
    """The job that a node's settings ask for, on these images.

    Args:
      args: the settings.
      card: of the images.
      train_files: globs of the training split.
      val_files: of the validation split.
      folders: `model_dir`, `saved_model_dir` and `log_dir` of the job.
    """
    model_dir, saved_model_dir, log_dir = folders
    return Job(
        spec=args.model.with_classes(len(card.labels)),
        labels=card.labels,
        data_card=card,
        train_files=train_files,
        val_files=val_files,
        global_batch_size=args.global_batch_size,
        seed=args.seed,
        precision=args.precision,
        cache=args.cache,
        augmentation=args.augmentation,
        max_pixels=args.max_pixels,
        reading=args.reading,
        class_weights=class_weights(args.class_weights, card),
        config={},
        model_dir=model_dir,
        saved_model_dir=saved_model_dir,
        log_dir=log_dir,
    )


@dataclass(frozen=True)
class BuiltClassifier:
    """A classifier and the backbone inside it."""

    backbone: keras.Model
    classifier: keras.Model


def build(job: Job, train_batch_norm: bool = False) -> BuiltClassifier:
    """A classifier with random weights, under the caller's strategy and precision."""
    backbone = job.load_backbone(job.spec.backbone, job.spec.image_size_px, RANDOM)
    return BuiltClassifier(backbone, build_classifier(job.spec, backbone, train_batch_norm))
