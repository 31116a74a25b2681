"""What each node is told of the config: only what its result depends on.

TFX re-runs a node when its arguments change, so a node that is told the learning rate
of fit 2 runs again for it. Everything here is plain values: they travel as JSON.
"""

from collections.abc import Mapping
from typing import Any

from components.evaluator.gate import GateRule
from pipeline import __version__
from pipeline.config.schema import Config
from pipeline.weights import weights_fingerprint
from trainer.backbones.table import BACKBONES
from trainer.tuning import hyperparameters as keys

LOCAL_LAUNCHER = {"kind": "local"}

_TOLERANCES = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}

# How long to wait, and how often to begin again: no weight depends on it.
_LIMITS = {"start_secs", "stall_secs", "max_restarts"}


def transform(config: Config) -> dict[str, Any]:
    """For `trainer.preprocessing`."""
    return {
        "image_size_px": config.backbone.image_size_px,
        "max_pixels": config.data.max_pixels,
    }


def trunk_features(config: Config) -> dict[str, Any]:
    """For TrunkFeatures."""
    augmentation = _augmentation(config)
    random = config.backbone.weights == "random"
    return {
        "spec": _trunk(config),
        **_weights(config),
        "seed": config.train.seed if random or any(augmentation.values()) else 0,
        "augmented_views": config.augmentation.views if any(augmentation.values()) else 0,
        "augmentation": augmentation,
    }


def tuner(config: Config) -> dict[str, Any]:
    """For `trainer.tfx_run.tuner_fn`."""
    told = _training(config)
    # The search decides on these.
    told["model"] = {**told["model"], "head_units": 1, "head_dropout": 0.0}
    return {
        **told,
        # Trials of an earlier execution are taken up again if all this is the same.
        **_weights(config),
        "thaw_version": __version__,
        "head": _head_stage(config),
        "head_patience": config.fits.head.patience,
        "fine_tune": _fine_tune_stage(config) if config.tuner.fine_tune_trials else None,
        "fine_tune_fit": _undecided(config) if config.tuner.fine_tune_trials else {},
    }


def _head_stage(config: Config) -> dict[str, Any]:
    search = config.tuner
    start = {
        keys.HEAD_RATE: config.fits.head.learning_rate,
        keys.HEAD_UNITS: config.head.units,
        keys.HEAD_DROPOUT: config.head.dropout,
        keys.LABEL_SMOOTHING: config.train.label_smoothing,
    }
    return {
        "name": "head",
        "algorithm": search.algorithm,
        "trials": search.head_trials,
        "max_epochs": search.max_epochs,
        "start": start,
        "space": {
            keys.HEAD_RATE: _between(search.head_learning_rates),
            keys.HEAD_UNITS: _one_of(search.units, config.head.units),
            keys.HEAD_DROPOUT: _one_of(search.dropouts, config.head.dropout),
            keys.LABEL_SMOOTHING: _one_of(search.label_smoothings, config.train.label_smoothing),
        },
    }


def _fine_tune_stage(config: Config) -> dict[str, Any]:
    search, fit = config.tuner, config.fits.fine_tune
    return {
        "name": "fine_tune",
        # Hyperband needs many trials to have some to stop.
        "algorithm": "bayesian",
        "trials": search.fine_tune_trials,
        "max_epochs": search.fine_tune_max_epochs,
        "start": {keys.FINE_TUNE_RATE: fit.learning_rate, keys.BOUNDARY: fit.boundary},
        "space": {
            keys.FINE_TUNE_RATE: _between(search.fine_tune_learning_rates),
            keys.BOUNDARY: {"of": _boundaries(config)},
        },
    }


def _between(limits: tuple[float, float]) -> dict[str, Any]:
    return {"between": list(limits)}


def _one_of(choices: list[Any], configured: Any) -> dict[str, Any]:
    return {"of": sorted({*choices, configured})}


def _boundaries(config: Config) -> list[str]:
    """Boundaries that fit 2 may get, lowest first."""
    possible = {config.fits.fine_tune.boundary}
    if config.tuner.enabled and config.tuner.fine_tune_trials:
        possible |= set(config.tuner.boundaries)
    return [name for name in BACKBONES[config.backbone.name].boundaries if name in possible]


def worker_group(
    config: Config, node: str, launcher: Mapping[str, Any], workers: int
) -> dict[str, dict[str, Any]]:
    """For `components.trainer.executor`. Nothing where the node's own process does the work."""
    if workers == 1 and launcher == LOCAL_LAUNCHER:
        return {}
    told = {
        "name": f"{config.name}-{node}".lower(),
        "workers": workers,
        "launcher": dict(launcher),
        "limits": limits(config),
    }
    return {"worker_group": told}


def limits(config: Config) -> dict[str, Any]:
    """How long workers wait for each other, and how often they begin again."""
    return config.train.model_dump(include=_LIMITS)


def head_trainer(config: Config) -> dict[str, Any]:
    """For `trainer.tfx_run.head_run_fn`."""
    return {
        **_training(config),
        **_weights(config),
        "fit": {
            **config.fits.head.model_dump(),
            "label_smoothing": config.train.label_smoothing,
        },
        "config": _described(config, {"head"}),
    }


def fine_tuner(config: Config) -> dict[str, Any]:
    """For `trainer.tfx_run.fine_tune_run_fn`."""
    return {
        **_training(config),
        "fit": _fine_tune_fit(config),
        "config": _described(config, {"head", "fine_tune"}),
    }


def _fine_tune_fit(config: Config) -> dict[str, Any]:
    fit = config.fits.fine_tune
    return {
        **_undecided(config),
        "boundary": fit.boundary,
        "learning_rate": fit.learning_rate,
        "max_epochs": fit.max_epochs,
        "label_smoothing": config.train.label_smoothing,
    }


def _undecided(config: Config) -> dict[str, Any]:
    """What no trial of fit 2 decides on."""
    fit = config.fits.fine_tune
    return {
        "momentum": fit.momentum,
        "patience": fit.patience,
        "train_batch_norm": fit.batch_norm == "train",
    }


def serving_tolerance(config: Config) -> float:
    """How far a probability may differ between the served and the evaluated model.

    The served model runs in float32 from the pixels on; the evaluated one starts from
    what the trunk computed and kept in fewer digits. docs/performance.md has the
    differences that were measured.
    """
    digits = {config.precision, config.features.dtype} if config.features.cache else set()
    return max(_TOLERANCES[kind] for kind in {"float32", *digits})


def gate_rule(config: Config) -> GateRule:
    """For the Evaluator."""
    return GateRule(config.gate.min_gain, config.gate.min_accuracy, config.gate.top_k)


def _training(config: Config) -> dict[str, Any]:
    return {
        "model": {
            "backbone": config.backbone.name,
            "image_size_px": config.backbone.image_size_px,
            "head_units": config.head.units,
            "head_dropout": config.head.dropout,
        },
        "global_batch_size": config.train.global_batch_size,
        "seed": config.train.seed,
        "precision": config.precision,
        "cache": _trunk(config) if config.features.cache else None,
        "augmentation": _augmentation(config),
        "max_pixels": config.data.max_pixels,
    }


def _trunk(config: Config) -> dict[str, Any]:
    return {
        "backbone": config.backbone.name,
        "image_size_px": config.backbone.image_size_px,
        "boundary": _boundaries(config)[0],
        "dtype": config.features.dtype,
        "precision": config.precision,
    }


def _weights(config: Config) -> dict[str, str]:
    return {
        "weights": config.backbone.weights,
        # A path says nothing of the file's content: without this an edited file is not noticed.
        "weights_fingerprint": weights_fingerprint(config.backbone.weights),
    }


def _augmentation(config: Config) -> dict[str, Any]:
    return config.augmentation.model_dump(exclude={"views"})


def _described(config: Config, fits: set[str]) -> dict[str, Any]:
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
