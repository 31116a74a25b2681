"""One tuning job: both stages of the search on what TrunkFeatures made of the images."""

import functools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from trainer import keys
from trainer.backbones.networks import boundary_layer
from trainer.backbones.table import BACKBONES
from trainer.calibration.unknown import Pooled
from trainer.data import fit_data as data
from trainer.distribution.strategy import make_deterministic, make_strategy
from trainer.errors import ThawError
from trainer.fit_specs import LBFGS, FineTune, SearchPlan
from trainer.fits import recipe
from trainer.job import Job, build
from trainer.job_data import merge_views, pool_vectors, unpooled_data
from trainer.model.classifier import on_pooled, on_trunk_features, pooling
from trainer.model.precision import layers_compute_in
from trainer.model.weight_files import load_weights
from trainer.solved_head import SolvedHead, solve_head
from trainer.tuning.head_trials import HeadTrials, HeadValues, TrialResult, clip_objective
from trainer.tuning.hyperparameters import (
    BOUNDARY,
    FINE_TUNE_RATE,
    HEAD_DROPOUT,
    HEAD_RATE,
    HEAD_UNITS,
    LABEL_SMOOTHING,
    Values,
)
from trainer.tuning.search import RunTrial, Search, StageTuner

# A trial need not see more to tell good values from bad ones: 0.8 GB of InceptionV3's vectors.
MOST_VECTORS = 100_000

HeadWeights = Sequence[np.ndarray]


def make_search(job: Job, plan: SearchPlan, weights_path: str, trials_dir: str) -> Search:
    """Prepares a search. The first TensorFlow work of the process.

    Args:
      job: its cache must be set; its spec's head does not matter.
      plan: what to search.
      weights_path: of the backbone, from TrunkFeatures.
      trials_dir: holds the trials; what is finished there is not run again.
    """
    strategy = make_strategy()
    make_deterministic(job.seed)
    train, val = _head_vectors(job, strategy, weights_path)
    trials = HeadTrials(
        train,
        val,
        job.spec.num_classes,
        job.global_batch_size,
        plan.head_patience,
        job.seed,
        class_weights=job.class_weights,
    )

    @functools.cache
    def solve() -> tuple[SolvedHead, TrialResult] | None:
        return _solve(job, [*train, val], strategy) if plan.head_solver == LBFGS else None

    def run_head(values: Values, max_epochs: int) -> TrialResult:
        solved = solve()
        return solved[1] if solved else trials.run(head_values(values), max_epochs)

    def head_weights(values: HeadValues, epochs: int) -> tuple[HeadWeights, HeadWeights | None]:
        if solved := solve():
            return solved[0].weights, solved[0].start
        return trials.weights(values, epochs), None

    head_tuner = StageTuner(plan.head, job.seed, run_head, trials_dir)
    second, fit = plan.fine_tune, plan.fine_tune_fit
    if second is None or fit is None:
        return Search(head_tuner, None, plan.head.trials)

    def make_fine_tune(head: StageTuner) -> StageTuner:
        best = head_values(head.best_values())
        weights = head_weights(best, head.best_epoch())
        smoothed = replace(fit, label_smoothing=best.label_smoothing)
        run = _fine_tune_trials(
            job, smoothed, second.space[BOUNDARY]["of"], strategy, weights_path, best, *weights
        )
        return StageTuner(second, job.seed, run, trials_dir)

    return Search(head_tuner, make_fine_tune, plan.head.trials + second.trials)


def head_values(values: Values) -> HeadValues:
    """Reads a trial of the head by the config's keys."""
    return HeadValues(
        learning_rate=float(values[HEAD_RATE]),
        units=int(values[HEAD_UNITS]),
        dropout=float(values[HEAD_DROPOUT]),
        label_smoothing=float(values[LABEL_SMOOTHING]),
    )


def _solve(
    job: Job, views: Sequence[Pooled], strategy: tf.distribute.Strategy
) -> tuple[SolvedHead, TrialResult] | None:
    """The head that L-BFGS finds, and its trial; None if there is too much for it."""
    started = time.monotonic()
    splits = merge_views([view.weighted(job.class_weights) for view in views])
    shape = (splits[1].vectors.shape[1], job.spec.num_classes)
    solved = solve_head(strategy, lambda: splits, shape)
    if not solved:
        return None
    loss = min(solved.record.val_losses.values()) if solved.record else None
    objective = clip_objective(loss, job.spec.num_classes)
    return solved, TrialResult(objective, 1, 1, time.monotonic() - started)


def _head_vectors(
    job: Job, strategy: tf.distribute.Strategy, weights_path: str
) -> tuple[list[Pooled], Pooled]:
    """Pools all images once and keeps the vectors in memory: a list of views, and validation."""
    with strategy.scope(), layers_compute_in(job.precision):
        built = build(job)
    load_weights(built.backbone, weights_path)
    pool = pooling(built.classifier, built.backbone, _cut(job))
    width = pool.output_shape[-1]
    with tempfile.TemporaryDirectory(prefix="thaw-vectors-") as folder:
        paths = pool_vectors(job, pool, folder, strategy)
        num_train = job.data_card.num_examples(keys.TRAIN) * (len(paths) - 1)
        every = 1 + num_train // MOST_VECTORS
        *train, val = (Pooled(*data.load_vectors(path, width, every)) for path in paths)
    return train, val


def _fine_tune_trials(
    job: Job,
    fit: FineTune,
    boundaries: Sequence[str],
    strategy: tf.distribute.Strategy,
    weights_path: str,
    best: HeadValues,
    head_weights: HeadWeights,
    start_head: HeadWeights | None,
) -> RunTrial:
    """Fit 2 from the best head, again and again."""
    spec = replace(job.spec, head_units=best.units, head_dropout=best.dropout)
    with strategy.scope(), layers_compute_in(job.precision):
        built = build(replace(job, spec=spec), fit.train_batch_norm)
        # Before the backbone is cut: the halves use its layers once more.
        layers = {
            name: boundary_layer(built.backbone, BACKBONES[spec.backbone], name)
            for name in boundaries
        }
        trained_part = on_trunk_features(
            built.classifier, built.backbone, _cut(job), fit.train_batch_norm
        )
        head = on_pooled(built.classifier)
    load_weights(built.backbone, weights_path)
    head.set_weights(head_weights)
    initial = built.classifier.get_weights()
    network = recipe.Network(built.classifier, built.backbone, trained_part)

    def run(values: Values, max_epochs: int) -> TrialResult:
        make_deterministic(job.seed)
        built.classifier.set_weights(initial)
        tried = replace(
            fit,
            boundary=str(values[BOUNDARY]),
            learning_rate=float(values[FINE_TUNE_RATE]),
            max_epochs=max_epochs,
        )
        fit_data = unpooled_data(job, trained_part, strategy)
        layer = layers[tried.boundary]
        record = recipe.fine_tune(
            network,
            fit_data,
            tried,
            log_dir=None,
            boundary_layer=layer,
            class_weights=job.class_weights,
            start_head=start_head,
        )
        entropies = record.history[f"val_{recipe.CROSS_ENTROPY}"]
        best_entropy = entropies[record.best_epoch - 1]
        if record.mixing:
            best_entropy = record.mixing.lowest_loss
        return TrialResult(
            objective=clip_objective(best_entropy, spec.num_classes),
            epochs=len(entropies),
            best_epoch=record.best_epoch,
            seconds=record.seconds,
        )

    return run


def _cut(job: Job) -> str:
    """The layer that the cached features come from.

    Raises:
      ThawError: if there are none.
    """
    if not job.cache:
        raise ThawError(
            "the search needs the cached output of the trunk.",
            where="features.cache",
            to_do="Set features.cache to true, or tuner.enabled to false.",
        )
    return job.cache.layer
