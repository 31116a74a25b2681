"""Thaw's trunk pass and its two fits; run as a child of a comparison with the plain recipe.

Each in a fork of this process, as `thaw run` runs them, exports included.
"""

import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow as tf

from benchmarks.common import seconds_since_start
from benchmarks.recipe_data import MAX_PIXELS, SEED, Recipe
from components.trunk_features.executor import write_backbone, write_features
from pipeline.config.fits import DEFAULT_RATES
from pipeline.local.runner import run_forked
from trainer import keys
from trainer.data import fit_data
from trainer.data.card import read_card
from trainer.export import EVALUATION_SIGNATURE, PROBABILITIES
from trainer.fit_specs import LBFGS, RMSPROP, FineTune, HeadFit
from trainer.fits.record import FitRecord
from trainer.job import Job
from trainer.model.trunk import BACKBONE_FILE
from trainer.process.replaced import replaced
from trainer.run_fits import run_fine_tune, run_head_fit
from trainer.specs import NO_CHANGE, ModelSpec, TrunkFeaturesArgs, TrunkSpec

HEAD = "head"
FINE_TUNE = "fine_tune"


def trunk_spec(recipe: Recipe) -> TrunkSpec:
    """The trunk of both fits."""
    return TrunkSpec(
        recipe.backbone, recipe.size_px, recipe.boundary, recipe.dtype, recipe.precision
    )


def run_trunk(recipe: Recipe, folder: Path) -> dict[str, float]:
    """TrunkFeatures: seconds of running the trunk over all splits."""
    weights = str(folder / BACKBONE_FILE)
    settings = TrunkFeaturesArgs(trunk_spec(recipe), str(recipe.weights), "", SEED, 0, NO_CHANGE)
    write_backbone(settings, str(recipe.examples), weights)
    started = time.monotonic()
    examples, target = str(recipe.examples), str(folder / "features")
    write_features(beam.Pipeline(), settings, examples, target, weights)
    return {"work_seconds": time.monotonic() - started}


def make_job(recipe: Recipe, folder: Path, name: str) -> Job:
    """The settings of both fits; patience is longer than they take."""
    card = read_card(str(recipe.examples))
    labels = sorted(card.counts[keys.TRAIN])
    return Job(
        spec=ModelSpec(
            recipe.backbone,
            recipe.size_px,
            head_units=recipe.head_units,
            head_dropout=0.0,
            num_classes=len(labels),
        ),
        labels=labels,
        data_card=card,
        train_files=[str(folder / "features" / keys.split_folder(keys.TRAIN) / "*")],
        val_files=[str(folder / "features" / keys.split_folder(keys.VAL) / "*")],
        global_batch_size=recipe.batch_size,
        seed=recipe.seed,
        precision=recipe.precision,
        cache=trunk_spec(recipe),
        augmentation=NO_CHANGE,
        max_pixels=MAX_PIXELS,
        config={},
        model_dir=str(folder / name),
        saved_model_dir=str(folder / name / "saved_model"),
        log_dir=str(folder / name / "logs"),
    )


def run_head(recipe: Recipe, folder: Path) -> dict[str, float]:
    """HeadTrainer: seconds of pooling every image once and of the fit."""
    solver = RMSPROP if recipe.head_units else LBFGS
    fit = HeadFit(1e-3, recipe.epochs, recipe.most_wait, solver=solver)
    pooling = 0.0
    write_vectors = fit_data.write_vectors

    def timed(*arguments: Any) -> None:
        nonlocal pooling
        started = time.monotonic()
        write_vectors(*arguments)
        pooling += time.monotonic() - started

    with replaced(fit_data, "write_vectors", timed):
        record = run_head_fit(make_job(recipe, folder, HEAD), fit, str(folder / BACKBONE_FILE))
    return {"work_seconds": pooling + record.seconds, "val_loss": _kept_loss(record)}


def run_fine_tuning(recipe: Recipe, folder: Path) -> dict[str, float]:
    """FineTuner: seconds of the fit."""
    fit = FineTune(
        recipe.boundary,
        DEFAULT_RATES[recipe.schedule],
        0.9,
        0 if recipe.schedule == "fast" else recipe.epochs,
        recipe.most_wait,
        schedule=recipe.schedule,
    )
    job = make_job(recipe, folder, FINE_TUNE)
    record = run_fine_tune(job, fit, str(folder / HEAD))
    return {"work_seconds": record.seconds, "val_loss": _kept_loss(record)}


def _kept_loss(record: FitRecord) -> float:
    """Validation loss of the weights that a fit keeps."""
    loss = record.history["val_loss"][record.best_epoch - 1]
    if record.mixing:
        loss = record.mixing.lowest_loss
    return math.inf if loss is None else loss


def accuracy(folder: Path, name: str) -> float:
    """Of an exported model on the test images, asked as the Evaluator asks it."""
    model = tf.saved_model.load(str(folder / name / "saved_model"))
    evaluate = model.signatures[EVALUATION_SIGNATURE]
    files = fit_data.list_files([str(folder / "features" / keys.split_folder(keys.TEST) / "*")])
    right = count = 0
    for examples in fit_data.read_records(files).batch(32):
        found = tf.argmax(evaluate(examples=examples)[PROBABILITIES], axis=-1).numpy()
        parsed = tf.io.parse_example(examples, {keys.LABEL_ID: tf.io.FixedLenFeature([], tf.int64)})
        right += int((found == parsed[keys.LABEL_ID].numpy()).sum())
        count += len(found)
    return right / count


def judge(folder: Path) -> dict[str, float]:
    """Accuracies after each fit."""
    return {name: accuracy(folder, name) for name in (HEAD, FINE_TUNE)}


def in_fork(name: str, work: Any, *arguments: Any) -> dict[str, float]:
    """Runs one stage; what it returned, and its seconds."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as logs:
        outcome = run_forked(name, Path(logs), work, *arguments)
        if not outcome.ok:
            raise SystemExit((Path(logs) / f"{name}.log").read_text()[-3000:])
    return {**outcome.state, "seconds": time.monotonic() - started}


def main(recipe: Recipe) -> None:
    """Runs the trunk and both fits; prints seconds and accuracies on the test images."""
    imported = seconds_since_start()
    with tempfile.TemporaryDirectory(prefix="thaw-recipe-") as name:
        folder = Path(name)
        stages = {
            "trunk": in_fork("trunk", run_trunk, recipe, folder),
            HEAD: in_fork(HEAD, run_head, recipe, folder),
            FINE_TUNE: in_fork(FINE_TUNE, run_fine_tuning, recipe, folder),
        }
        seconds = seconds_since_start()
        judged = in_fork("judge", judge, folder)
    result = {
        "seconds": seconds,
        "import_seconds": imported,
        "work_seconds": sum(stage["work_seconds"] for stage in stages.values()),
        "stages": stages,
        "accuracy": {fit: judged[fit] for fit in (HEAD, FINE_TUNE)},
        "val_loss": {fit: stages[fit]["val_loss"] for fit in (HEAD, FINE_TUNE)},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Recipe.from_json(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # libraries' threads have hung in the interpreter's shutdown
