"""One training job from examples to an exported model: what each Trainer node does."""

import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

import tensorflow as tf
import tf_keras as keras

from trainer import keys
from trainer.backbones.networks import RANDOM, LoadBackbone, boundary_layer, load_backbone
from trainer.backbones.table import BACKBONES
from trainer.data import fit_data as data
from trainer.data.card import DataCard
from trainer.distribution.strategy import (
    check_same_weights,
    from_chief,
    local_share,
    make_deterministic,
    make_strategy,
    this_worker,
    wait_for_all,
)
from trainer.earlier_head import WEIGHTS_FILE, start_from_earlier
from trainer.export import Evaluation, Export, ExportInfo, export_saved_model
from trainer.fits import recipe, resume
from trainer.fits.record import write_fit
from trainer.model import trunk
from trainer.model.classifier import build_classifier, on_pooled, on_trunk_features, pooling
from trainer.model.precision import layers_compute_in
from trainer.model.weight_files import load_weights, save_weights
from trainer.process import progress, supervision
from trainer.records import to_json
from trainer.specs import (
    AS_IN_THE_RECIPE,
    NO_CHANGE,
    Augmentation,
    FineTune,
    HeadFit,
    ImageReading,
    ModelSpec,
    ServedImages,
    TrunkSpec,
)
from trainer.start_weights import load_start_weights


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
        the other two are empty for a job that exports nothing.
      saved_model_dir: where the SavedModel goes.
      log_dir: TensorBoard logs and a copy of the history.
      recovery_dir: where the state of the fit is kept while it runs; empty: nowhere.
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
    class_weights: tuple[float, ...] = ()
    load_backbone: LoadBackbone = load_backbone
    make_strategy: Callable[[], tf.distribute.Strategy] = make_strategy
    check_weights: Callable[[tf.distribute.Strategy, list], object] = check_same_weights
    export: Export = export_saved_model


_Arguments = ParamSpec("_Arguments")


def _names_damaged_files(
    run: Callable[Concatenate[Job, _Arguments], recipe.FitRecord],
) -> Callable[Concatenate[Job, _Arguments], recipe.FitRecord]:
    """Has a fit name the file in which a record is damaged."""

    @functools.wraps(run)
    def naming(job: Job, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> recipe.FitRecord:
        with data.naming_damaged_files([*job.train_files, *job.val_files]):
            return run(job, *args, **kwargs)

    return naming


@_names_damaged_files
def run_head_fit(job: Job, fit: HeadFit, weights: str) -> recipe.FitRecord:
    """Fit 1 and its export. The first TensorFlow work of the process.

    Args:
      job: what to do it with.
      fit: rates and patience.
      weights: of the backbone: `imagenet`, `random`, or the path of an `.h5` file.
    """
    strategy = job.make_strategy()
    supervision.mark_started()
    make_deterministic(job.seed)
    spec = job.spec
    start_backbone = load_start_weights(
        spec.backbone,
        spec.image_size_px,
        weights,
        job.train_files,
        job.seed,
        job.load_backbone,
    )
    # Again, so that the head's first weights do not depend on how the backbone's were made.
    make_deterministic(job.seed)
    initial = BuiltClassifier(start_backbone, build_classifier(spec, start_backbone))
    if fit.start_from:
        start_from_earlier(
            initial.classifier, start_backbone, spec, job.labels, os.path.expanduser(fit.start_from)
        )
    with strategy.scope(), layers_compute_in(job.precision):
        built = build(job)
        _set_initial_weights(strategy, built, initial)
        trained_part = on_pooled(built.classifier) if job.cache else built.classifier
    with tempfile.TemporaryDirectory(prefix="thaw-vectors-") as folder:
        if job.cache:
            pool = pooling(built.classifier, built.backbone, job.cache.layer)
            fit_data = _pooled_data(job, pool, folder, strategy)
        else:
            fit_data = unpooled_data(job, trained_part, strategy)
        network = recipe.Network(built.classifier, built.backbone, trained_part)
        record = recipe.fit_head(
            network,
            fit_data,
            fit,
            _log_dir(job, strategy),
            _checkpoint(job),
            class_weights=job.class_weights,
        )
    _finish(job, strategy, initial, built, record)
    return record


@_names_damaged_files
def run_fine_tune(job: Job, fit: FineTune, base_model_dir: str) -> recipe.FitRecord:
    """Fit 2 from the weights that fit 1 left in `base_model_dir`, and its export."""
    strategy = job.make_strategy()
    supervision.mark_started()
    make_deterministic(job.seed)
    initial = build(job)
    layer = boundary_layer(initial.backbone, BACKBONES[job.spec.backbone], fit.boundary)
    load_weights(initial.classifier, os.path.join(base_model_dir, WEIGHTS_FILE))
    with strategy.scope(), layers_compute_in(job.precision):
        built = build(job, fit.train_batch_norm)
        trained_part = built.classifier
        if job.cache:
            trained_part = on_trunk_features(
                built.classifier, built.backbone, job.cache.layer, fit.train_batch_norm
            )
    _set_initial_weights(strategy, built, initial)
    network = recipe.Network(built.classifier, built.backbone, trained_part)
    fit_data = unpooled_data(job, trained_part, strategy)
    record = recipe.fine_tune(
        network,
        fit_data,
        fit,
        _log_dir(job, strategy),
        _checkpoint(job),
        boundary_layer=layer,
        class_weights=job.class_weights,
    )
    _finish(job, strategy, initial, built, record)
    return record


@dataclass(frozen=True)
class BuiltClassifier:
    """A classifier and the backbone inside it."""

    backbone: keras.Model
    classifier: keras.Model


def build(job: Job, train_batch_norm: bool = False) -> BuiltClassifier:
    """A classifier with random weights, under the caller's strategy and precision."""
    backbone = job.load_backbone(job.spec.backbone, job.spec.image_size_px, RANDOM)
    return BuiltClassifier(backbone, build_classifier(job.spec, backbone, train_batch_norm))


def _set_initial_weights(
    strategy: tf.distribute.Strategy, built: BuiltClassifier, initial: BuiltClassifier
) -> None:
    """Begins with the chief's weights on every worker.

    Random ones are calibrated on images, which two kinds of processors do not do alike.
    """
    built.classifier.set_weights(from_chief(strategy, initial.classifier.get_weights()))


def _log_dir(job: Job, strategy: tf.distribute.Strategy) -> str | None:
    """Where the fit is logged, by the chief alone."""
    return job.log_dir if this_worker(strategy).is_chief else None


def _checkpoint(job: Job) -> resume.CheckpointSpec:
    return resume.CheckpointSpec(job.recovery_dir, job.seed)


def _parser(job: Job, trained_part: keras.Model) -> data.Parse:
    """Reads what `trained_part` takes from an example."""
    if job.cache:
        shape = trained_part.input_shape[1:]
        return data.trunk_parser(shape, job.cache.dtype, job.data_card.weighted)
    return data.image_parser(job.spec.image_size_px, job.data_card.weighted)


def _train_views(job: Job) -> list[list[str]]:
    """Files of the training split, a list for each view."""
    return trunk.files_by_view(data.list_files(job.train_files))


def unpooled_data(
    job: Job, trained_part: keras.Model, strategy: tf.distribute.Strategy
) -> data.FitData:
    """Images, or what the trunk made of them, for a fit that runs the rest of the backbone."""
    return _make_fit_data(
        job,
        strategy,
        [data.read_records(files) for files in _train_views(job)],
        data.read_records(data.list_files(job.val_files)),
        _parser(job, trained_part),
        # What the trunk made of images is kept in augmented views already.
        NO_CHANGE if job.cache else job.augmentation,
    )


def _pooled_data(
    job: Job, pool: keras.Model, folder: str, strategy: tf.distribute.Strategy
) -> data.FitData:
    """Runs the blocks above the trunk once, down to a vector an image, for the head's fit."""
    width = pool.output_shape[-1]
    paths = pool_vectors(job, pool, folder, strategy)
    vectors = [data.read_vectors(path, width) for path in paths]
    parse = data.vector_parser(width, job.data_card.weighted)
    return _make_fit_data(job, strategy, vectors[:-1], vectors[-1], parse)


def pool_vectors(
    job: Job, pool: keras.Model, folder: str, strategy: tf.distribute.Strategy
) -> list[str]:
    """Writes a file of pooled vectors for each view of the training split, then validation's.

    Workers divide the work and then each write all vectors: of an image they are a
    hundredth of what is read to make them.

    Args:
      job: its cache must be set.
      pool: from `pooling`.
      folder: a local one.
      strategy: that `pool` was made under.
    """
    views, val = _train_views(job), data.list_files(job.val_files)
    num_train, num_val = (job.data_card.num_examples(s) for s in (keys.TRAIN, keys.VAL))
    share, watched = local_share(strategy), this_worker(strategy).is_chief
    counter = progress.Counter("images pooled", num_train * len(views) + num_val, watched)
    paths = []
    for number, files in enumerate([*views, val]):
        path = os.path.join(folder, f"vectors-{number}")
        batches = data.in_batches(
            data.read_records(files), _parser(job, pool), job.global_batch_size, share
        )
        data.write_vectors(batches, pool, path, counter, strategy)
        paths.append(path)
    return paths


def _make_fit_data(
    job: Job,
    strategy: tf.distribute.Strategy,
    train: Sequence[tf.data.Dataset],
    val: tf.data.Dataset,
    parse: data.Parse,
    augmentation: Augmentation = NO_CHANGE,
) -> data.FitData:
    made = data.make_fit_data(
        train,
        val,
        parse,
        job.data_card.num_examples(keys.TRAIN),
        job.global_batch_size,
        job.spec.num_classes,
        job.seed,
        augmentation,
        local_share(strategy),
        job.data_card.num_examples(keys.VAL),
        job.data_card.weighted,
    )
    return data.spread_over(strategy, made)


def _finish(
    job: Job,
    strategy: tf.distribute.Strategy,
    plain: BuiltClassifier,
    trained: BuiltClassifier,
    record: recipe.FitRecord,
) -> None:
    """Leaves the model: one, whose weights all workers agree on.

    Other workers than the chief have nothing to save: what is exported is a copy that no
    strategy knows of. They wait until it is there, for TFX looks for it on each of them.

    Raises:
      WorkersDiffer: if they do not agree.
    """
    # Of BatchNorm that follows the data this is the mean over the replicas: all take part.
    weights = trained.classifier.get_weights()
    job.check_weights(strategy, weights)
    if this_worker(strategy).is_chief:
        _export(job, plain, weights, record)
    wait_for_all(strategy)


def _export(job: Job, plain: BuiltClassifier, weights: list, record: recipe.FitRecord) -> None:
    """Exports through `plain`, a float32 model outside the strategy, so that no replica's
    variables end up in the file.
    """
    plain.classifier.set_weights(weights)
    evaluated = plain.classifier
    if job.cache:
        evaluated = on_trunk_features(plain.classifier, plain.backbone, job.cache.layer)
    job.export(
        plain.classifier,
        ServedImages(job.spec.image_size_px, job.max_pixels, job.reading, job.data_card.holds_webp),
        Evaluation(_parser(job, evaluated), evaluated),
        ExportInfo(job.labels, job.config, to_json(job.data_card)),
        job.saved_model_dir,
    )
    save_weights(plain.classifier, os.path.join(job.model_dir, WEIGHTS_FILE))
    for folder in (job.model_dir, job.log_dir):
        write_fit(record, folder)
