"""What each node is told of the config: only what its result depends on.

TFX re-runs a node when its arguments change, so a node that is told the learning rate
of fit 2 runs again for it. Everything here is plain values: they travel as JSON.
"""

from typing import Any

from components.evaluator.gate import GateRule
from pipeline import __version__
from pipeline.config import Config
from pipeline.weights import weights_fingerprint


def transform(config: Config) -> dict[str, Any]:
    """For `trainer.preprocessing`."""
    return {
        "image_size_px": config.backbone.image_size_px,
        "max_pixels": config.data.max_pixels,
    }


def head_trainer(config: Config) -> dict[str, Any]:
    """For `trainer.tfx_run.head_run_fn`."""
    return {
        **_training(config),
        "fit": config.fits.head.model_dump(),
        "weights": config.backbone.weights,
        # A path says nothing of the file's content: without this an edited file is not noticed.
        "weights_fingerprint": weights_fingerprint(config.backbone.weights),
        "config": _described(config, {"head"}),
    }


def fine_tuner(config: Config) -> dict[str, Any]:
    """For `trainer.tfx_run.fine_tune_run_fn`."""
    fit = config.fits.fine_tune.model_dump()
    fit["train_batch_norm"] = fit.pop("batch_norm") == "train"
    return {**_training(config), "fit": fit, "config": _described(config, {"head", "fine_tune"})}


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
        "max_pixels": config.data.max_pixels,
    }


def _described(config: Config, fits: set[str]) -> dict[str, Any]:
    """The part of the config that made a model, for the model's own record."""
    return {
        "thaw_version": __version__,
        **config.model_dump(
            include={"name": True, "data": True, "backbone": True, "head": True, "train": True}
            | {"fits": fits}
        ),
    }
