"""From examples to an exported model: what each Trainer node does."""

import functools
import os
import tempfile
from collections.abc import Callable
from typing import Concatenate, ParamSpec

import tensorflow as tf

from trainer.backbones.networks import boundary_layer
from trainer.backbones.table import BACKBONES
from trainer.data import fit_data as data
from trainer.distribution.strategy import from_chief, make_deterministic, this_worker
from trainer.earlier_head import WEIGHTS_FILE, start_from_earlier
from trainer.finish import finish
from trainer.fit_specs import LBFGS, FineTune, HeadFit
from trainer.fits import recipe, resume
from trainer.job import BuiltClassifier, Job, build
from trainer.job_data import load_all_pooled, load_pooled, pool_vectors, pooled_data, unpooled_data
from trainer.model.classifier import build_classifier, on_pooled, on_trunk_features, pooling
from trainer.model.precision import layers_compute_in
from trainer.model.weight_files import load_weights
from trainer.process import supervision
from trainer.solved_head import load_start, save_start, solve_head
from trainer.start_weights import load_start_weights

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
    pooled = None
    with tempfile.TemporaryDirectory(prefix="thaw-vectors-") as folder:
        if job.cache:
            pool = pooling(built.classifier, built.backbone, job.cache.layer)
            paths = pool_vectors(job, pool, folder, strategy)
            fit_data = pooled_data(job, paths, pool.output_shape[-1], strategy)
            if this_worker(strategy).is_chief:
                pooled = load_pooled(paths, pool.output_shape[-1])
        else:
            fit_data = unpooled_data(job, trained_part, strategy)
        network = recipe.Network(built.classifier, built.backbone, trained_part)
        solved = None
        if fit.solver == LBFGS:
            width = trained_part.input_shape[-1]
            solved = solve_head(
                strategy, lambda: load_all_pooled(job, paths, width), (width, spec.num_classes)
            )
        if solved:
            if this_worker(strategy).is_chief:
                save_start(on_pooled(initial.classifier), solved, job.model_dir)
            record = recipe.keep_solved_head(
                network,
                fit_data,
                fit,
                solved.weights,
                solved.record,
                class_weights=job.class_weights,
            )
        else:
            record = recipe.fit_head(
                network,
                fit_data,
                fit,
                _log_dir(job, strategy),
                _checkpoint(job),
                class_weights=job.class_weights,
            )
    finish(job, strategy, initial, built, record, with_probes=True, pooled=pooled)
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
    start_head = load_start(on_pooled(initial.classifier), base_model_dir) if fit.is_fast else None
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
        start_head=start_head,
    )
    finish(job, strategy, initial, built, record)
    return record


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
