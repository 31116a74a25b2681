"""What TFX's Trainer nodes call: unpacks TFX's arguments, runs one fit."""

import os
from typing import Any

import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import features, fits
from trainer.augment import Augmentation
from trainer.backbones import BACKBONES
from trainer.data_card import read_card
from trainer.job import Job, run_fine_tune, run_head_fit
from trainer.model import ModelSpec
from trainer.trunk import BACKBONE_FILE, TrunkSpec


def head_run_fn(fn_args: FnArgs) -> None:
    """Fit 1. `custom_config["fit"]` holds the fields of `HeadFit`.

    The backbone's weights are those of TrunkFeatures, if there is one (`base_model`).
    """
    weights = fn_args.custom_config["weights"]
    if fn_args.base_model:
        weights = os.path.join(_artifact_dir(fn_args.base_model), BACKBONE_FILE)
    run_head_fit(_job(fn_args), fits.HeadFit(**fn_args.custom_config["fit"]), weights)


def fine_tune_run_fn(fn_args: FnArgs) -> None:
    """Fit 2, from `base_model`. `custom_config["fit"]` holds the fields of `FineTune`."""
    job = _job(fn_args)
    fit = dict(fn_args.custom_config["fit"])
    fit["boundary_layer"] = BACKBONES[job.spec.backbone].blocks[fit["boundary"]]
    if not fn_args.base_model:
        raise ValueError("FineTuner needs HeadTrainer's model as base_model.")
    run_fine_tune(job, fits.FineTune(**fit), _artifact_dir(fn_args.base_model))


def _job(fn_args: FnArgs) -> Job:
    custom: dict[str, Any] = fn_args.custom_config
    transform = tft.TFTransformOutput(fn_args.transform_output)
    labels = [
        name.decode("utf-8") for name in transform.vocabulary_by_name(features.LABEL_VOCABULARY)
    ]
    return Job(
        spec=ModelSpec(num_classes=len(labels), **custom["model"]),
        labels=labels,
        data_card=read_card(_examples_dir(fn_args.train_files[0])),
        train_files=fn_args.train_files,
        val_files=fn_args.eval_files,
        global_batch_size=custom["global_batch_size"],
        seed=custom["seed"],
        precision=custom["precision"],
        cache=TrunkSpec(**custom["cache"]) if custom["cache"] else None,
        augmentation=Augmentation(**custom["augmentation"]),
        max_pixels=custom["max_pixels"],
        config=custom["config"],
        model_dir=_artifact_dir(fn_args.serving_model_dir),
        saved_model_dir=fn_args.serving_model_dir,
        log_dir=fn_args.model_run_dir,
    )


def _artifact_dir(saved_model_dir: str) -> str:
    """TFX puts the SavedModel into a sub-folder of the model artifact."""
    return os.path.dirname(saved_model_dir.rstrip("/"))


def _examples_dir(file_pattern: str) -> str:
    """`<artifact>/Split-train/*` -> `<artifact>`."""
    return os.path.dirname(os.path.dirname(file_pattern))
