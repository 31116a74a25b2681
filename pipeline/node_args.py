"""Each node's arguments: exactly the config values its result depends on, so that nothing
else invalidates its cache.

TFX re-runs a node when its arguments change. The records are those of `trainer.specs`; they
travel as JSON.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from components.exporter.formats import ExportRule
from components.gate.rule import GateRule
from components.image_example_gen.sources.tfrecord import RecordKeys
from pipeline import __version__
from pipeline.config.schema import Config
from trainer.backbones.table import BACKBONES
from trainer.data.rules import DriftRule, SplitRule
from trainer.files import sha256_of_file
from trainer.fit_specs import LBFGS, RMSPROP, FineTune, HeadFit, SearchPlan, Solver, Stage
from trainer.specs import (
    Architecture,
    Augmentation,
    CrossFitArgs,
    FineTunerArgs,
    HeadTrainerArgs,
    ImageReading,
    Json,
    TrainingArgs,
    TransformArgs,
    TrunkFeaturesArgs,
    TrunkSpec,
    TrunkStoreArgs,
    TunerArgs,
)
from trainer.store.uris import is_remote
from trainer.tuning import hyperparameters as keys

LOCAL_LAUNCHER = {"kind": "local"}

_TOLERANCES = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}

# How long to wait, and how often to restart: no weight depends on it.
_LIMITS = {"start_secs", "stall_secs", "max_restarts"}


def transform(config: Config) -> TransformArgs:
    """For `trainer.preprocessing`."""
    return TransformArgs(_image_size_px(config), config.data.max_pixels, image_reading(config))


def record_keys(config: Config) -> RecordKeys:
    """The features that TFRecords hold images and labels in."""
    return RecordKeys(**config.data.record_keys.model_dump())


def split_rule(config: Config) -> SplitRule:
    """For ingestion."""
    data = config.data
    return SplitRule(
        parts=data.splits.model_dump(),
        near_duplicates=data.near_duplicates,
        stratify=data.stratify,
        small_classes=data.small_classes,
        folded_class=data.folded_class,
    )


def drift_rule(config: Config) -> DriftRule:
    """For ExampleValidator."""
    return DriftRule(**config.data.drift.model_dump())


def image_reading(config: Config) -> ImageReading:
    """For ingestion, Transform and the exported model."""
    colour = config.data.background.removeprefix("#")
    red, green, blue = bytes.fromhex(colour)
    return ImageReading(config.data.shape, (red, green, blue), config.data.colour_profiles)


def trunk_features(config: Config) -> TrunkFeaturesArgs:
    """For TrunkFeatures."""
    augmentation = _augmentation(config)
    random = config.backbone.weights == "random"
    return TrunkFeaturesArgs(
        spec=_trunk(config),
        weights=config.backbone.weights,
        weights_fingerprint=_weights_fingerprint(config),
        seed=config.train.seed if random or augmentation else 0,
        augmented_views=config.augmentation.views if augmentation else 0,
        augmentation=augmentation,
    )


def trunk_store(config: Config, default: str = "") -> TrunkStoreArgs | None:
    """For TrunkFeatures. `default` is the store of runs that the config names none for."""
    path = {"auto": default, "none": ""}.get(config.features.store, config.features.store)
    if not path:
        return None
    path = path if is_remote(path) else os.path.abspath(os.path.expanduser(path))
    return TrunkStoreArgs(path, int(config.features.store_gb * 10**9))


def tuner(config: Config) -> TunerArgs:
    """For `trainer.tfx_run.tuner_fn`."""
    training = _training(config)
    # The search decides on the head.
    model = replace(training.model, head_units=1, head_dropout=0.0)
    return TunerArgs(
        **vars(replace(training, model=model)),
        weights=config.backbone.weights,
        weights_fingerprint=_weights_fingerprint(config),
        thaw_version=__version__,
        plan=_search_plan(config),
    )


def _search_plan(config: Config) -> SearchPlan:
    solver = _head_solver(config)
    head = _head_stage(config) if solver == RMSPROP else _solved_head_stage(config)
    if not config.tuner.fine_tune_trials:
        return SearchPlan(head, config.fits.head.patience, None, None, solver)
    second = _fine_tune_stage(config)
    # As long as its trials, so that the length of fit 2 itself does not count.
    fit = replace(_fine_tune_fit(config), max_epochs=second.max_epochs)
    return SearchPlan(head, config.fits.head.patience, second, fit, solver)


def _head_stage(config: Config) -> Stage:
    search = config.tuner
    return Stage(
        name="head",
        algorithm=search.algorithm,
        trials=search.head_trials,
        max_epochs=search.max_epochs,
        space={
            keys.HEAD_RATE: _between(search.head_learning_rates),
            keys.HEAD_UNITS: _one_of(search.units, config.head.units),
            keys.HEAD_DROPOUT: _one_of(search.dropouts, config.head.dropout),
            keys.LABEL_SMOOTHING: _one_of(search.label_smoothings, config.train.label_smoothing),
        },
        start={
            keys.HEAD_RATE: config.fits.head.learning_rate,
            keys.HEAD_UNITS: config.head.units,
            keys.HEAD_DROPOUT: config.head.dropout,
            keys.LABEL_SMOOTHING: config.train.label_smoothing,
        },
    )


def _solved_head_stage(config: Config) -> Stage:
    """One trial: nothing is left to choose where the head is solved."""
    start = _head_stage(config).start
    space = {key: {"of": [value]} for key, value in start.items()}
    return Stage("head", "bayesian", trials=1, max_epochs=1, space=space, start=start)


def _fine_tune_stage(config: Config) -> Stage:
    search, fit = config.tuner, config.fits.fine_tune
    # The rate of `fast` falls to 0 by the last epoch: only a trial of its length says anything.
    is_fast = config.fits.schedule == "fast"
    return Stage(
        name="fine_tune",
        # Hyperband needs many trials to have some to stop.
        algorithm="bayesian",
        trials=search.fine_tune_trials,
        max_epochs=fit.max_epochs or 0 if is_fast else search.fine_tune_max_epochs,
        space={
            keys.FINE_TUNE_RATE: _between(search.fine_tune_learning_rates),
            keys.BOUNDARY: {"of": _boundaries(config)},
        },
        start={keys.FINE_TUNE_RATE: fit.learning_rate, keys.BOUNDARY: fit.boundary},
    )


def _between(limits: tuple[float, float]) -> dict[str, list[float]]:
    return {"between": list(limits)}


def _one_of(choices: list[Any], configured: Any) -> dict[str, list[Any]]:
    return {"of": sorted({*choices, configured})}


def _boundaries(config: Config) -> list[str]:
    """Boundaries that fit 2 may get, lowest first."""
    possible = {config.fits.fine_tune.boundary}
    if config.tuner.enabled and config.tuner.fine_tune_trials:
        possible |= set(config.tuner.boundaries)
    return [name for name in BACKBONES[config.backbone.name].boundaries if name in possible]


def worker_group(
    config: Config, node: str, launcher: Mapping[str, object], workers: int
) -> dict[str, dict[str, Any]]:
    """For `components.trainer.executor`. Nothing where the node's own process does the work."""
    if workers == 1 and launcher == LOCAL_LAUNCHER:
        return {}
    settings = {
        "name": f"{config.name}-{node}".lower(),
        "workers": workers,
        "launcher": dict(launcher),
        "limits": limits(config),
    }
    return {"worker_group": settings}


def limits(config: Config) -> dict[str, float]:
    """How long workers wait for each other, and how often they restart."""
    return config.train.model_dump(include=_LIMITS)


def head_trainer(config: Config) -> HeadTrainerArgs:
    """For `trainer.tfx_run.head_run_fn`."""
    smoothing = config.train.label_smoothing
    return HeadTrainerArgs(
        **vars(_training(config)),
        weights=config.backbone.weights,
        weights_fingerprint=_weights_fingerprint(config),
        fit=HeadFit(
            **config.fits.head.model_dump(), label_smoothing=smoothing, solver=_head_solver(config)
        ),
        config=_described(config, {"head"}),
        rejected_share=config.export.rejected_share,
    )


def fine_tuner(config: Config) -> FineTunerArgs:
    """For `trainer.tfx_run.fine_tune_run_fn`."""
    return FineTunerArgs(
        **vars(_training(config)),
        fit=_fine_tune_fit(config),
        config=_described(config, {"head", "fine_tune"}),
        rejected_share=config.export.rejected_share,
    )


# More test images than any data set has: whatever their number, the folds are run.
_NEVER_ENOUGH = 2**53


def cross_fitter(config: Config) -> CrossFitArgs | None:
    """For CrossFitter; None: the test split is the evidence."""
    gate = config.gate
    if gate.evidence == "test":
        return None
    head, fine_tune = head_trainer(config), fine_tuner(config)
    return CrossFitArgs(
        head=replace(head, config={}),
        fine_tune=replace(fine_tune, config={}),
        folds=gate.folds,
        enough_test_images=gate.enough_test_images if gate.evidence == "auto" else _NEVER_ENOUGH,
    )


def _head_solver(config: Config) -> Solver:
    """L-BFGS needs vectors that stay what they are, and a head that is linear."""
    solvable = config.fits.schedule == "fast" and not config.head.units and config.features.cache
    return LBFGS if solvable else RMSPROP


def _fine_tune_fit(config: Config) -> FineTune:
    smoothing = config.train.label_smoothing
    return FineTune(
        **config.fits.fine_tune.model_dump(),
        label_smoothing=smoothing,
        schedule=config.fits.schedule,
    )


def serving_tolerance(config: Config) -> float:
    """How far a probability may differ between the served and the evaluated model.

    The served model runs in float32 from the pixels on; the evaluated one starts from
    what the trunk computed and kept in fewer digits. docs/performance.md has the
    differences that were measured.
    """
    digits = {config.precision, config.features.dtype} if config.features.cache else set()
    return max(_TOLERANCES[kind] for kind in {"float32", *digits})


def gate_rule(config: Config) -> GateRule:
    """For the gate."""
    gate = config.gate
    return GateRule(
        metric=gate.metric,
        alpha=gate.alpha,
        min_gain=gate.min_gain,
        min_accuracy=gate.min_accuracy or 0.0,
        max_class_loss=gate.max_class_loss,
        max_calibration_error=gate.max_calibration_error or 0.0,
        served_margin=gate.served_margin,
        must_beat_served=gate.must_beat_served,
        fallback=gate.fallback,
        reuse=gate.reuse,
    )


def export_rule(config: Config) -> ExportRule:
    """For Exporter."""
    return ExportRule(tuple(config.export.formats), config.export.int8_max_loss)


def _training(config: Config) -> TrainingArgs:
    return TrainingArgs(
        model=Architecture(
            backbone=config.backbone.name,
            image_size_px=_image_size_px(config),
            head_units=config.head.units,
            head_dropout=config.head.dropout,
        ),
        global_batch_size=config.train.global_batch_size,
        seed=config.train.seed,
        precision=config.precision,
        cache=_trunk(config) if config.features.cache else None,
        augmentation=_augmentation(config),
        max_pixels=config.data.max_pixels,
        reading=image_reading(config),
        class_weights=config.train.class_weights,
    )


def _trunk(config: Config) -> TrunkSpec:
    return TrunkSpec(
        backbone=config.backbone.name,
        image_size_px=_image_size_px(config),
        boundary=_boundaries(config)[0],
        dtype=config.features.dtype,
        precision=config.precision,
    )


def _image_size_px(config: Config) -> int:
    # Filled in by the config itself where the user has not set it.
    return cast(int, config.backbone.image_size_px)


def _weights_fingerprint(config: Config) -> str:
    """SHA-256 of a local weights file; empty for `imagenet`, `random` and remote files.

    A path says nothing of the file's content: without this an edited file is not noticed.
    """
    path = os.path.expanduser(config.backbone.weights)
    return sha256_of_file(path) if os.path.isfile(path) else ""


def _augmentation(config: Config) -> Augmentation:
    return Augmentation(**config.augmentation.model_dump(exclude={"views"}))


def _described(config: Config, fits: set[str]) -> Json:
    """The part of the config that made a model, for the model's own record."""
    return {
        "thaw_version": __version__,
        **config.model_dump(
            include={"fits": fits}
            | dict.fromkeys(
                (
                    "name",
                    "data",
                    "backbone",
                    "precision",
                    "features",
                    "augmentation",
                    "head",
                    "train",
                ),
                True,
            ),
            exclude={"train": _LIMITS},
        ),
    }
