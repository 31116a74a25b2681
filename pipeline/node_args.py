"""What each node is told of the config: only what its result depends on.

TFX re-runs a node when its arguments change, so a node that is told the learning rate
of fit 2 runs again for it. Everything here is plain values: they travel as JSON.
"""

from typing import Any

from components.evaluator.gate import GateRule
from pipeline import __version__
from pipeline.config import Config
from pipeline.weights import weights_fingerprint

_TOLERANCES = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}


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
    fit = config.fits.fine_tune.model_dump()
    fit["train_batch_norm"] = fit.pop("batch_norm") == "train"
    fit["label_smoothing"] = config.train.label_smoothing
    return {**_training(config), "fit": fit, "config": _described(config, {"head", "fine_tune"})}


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
        "boundary": config.fits.fine_tune.boundary,
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
            )
        ),
    }
