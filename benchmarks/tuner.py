"""How long a hundred trials of the head take, in epochs of the recipe written plainly.

    .venv/bin/python -m benchmarks.tuner --images 400

Trials run as the Tuner runs them, keras-tuner's bookkeeping included, over the default
config's search space, on random vectors with a signal in them. An epoch of the plain recipe
is taken to be InceptionV3's forward pass over the training images, less than it is.
"""

import tempfile
import time
from typing import Annotated, Any

import numpy as np
import typer

import trainer  # noqa: F401 - chooses the Keras before anything imports TensorFlow
from benchmarks.common import JsonOption, machine, report
from pipeline import node_args
from pipeline.config.schema import Config

WIDTH = 2048
CLASSES = 10
TIMED_BATCHES = 6


def main(
    images: Annotated[int, typer.Option(help="Training images.")] = 400,
    trials: Annotated[int, typer.Option(help="Of the head.")] = 100,
    algorithm: Annotated[str, typer.Option(help="hyperband or bayesian.")] = "hyperband",
    size: Annotated[int, typer.Option(help="Side of the images of the plain recipe.")] = 299,
    json: JsonOption = None,
) -> None:
    """Times trials and the plain recipe's forward pass in one run.

    A ratio below 1 says that all trials together take less than two epochs.
    """
    host = machine()
    config = Config.model_validate({"tuner": {"algorithm": algorithm, "head_trials": trials}})
    before = seconds_per_image(size, config.train.global_batch_size)
    searched = search(config, images)
    after = seconds_per_image(size, config.train.global_batch_size)
    per_image = (before + after) / 2
    row = {
        "images": images,
        "trials": searched["trials"],
        "epochs": searched["epochs"],
        "trials [s]": searched["seconds"],
        "plain [ms/image]": 1000 * per_image,
        "two plain epochs [s]": 2 * images * per_image,
        "ratio": searched["seconds"] / (2 * images * per_image),
    }
    details = {"algorithm": algorithm, "size_px": size, "per_image_secs": [before, after]}
    report("tuner", f"{algorithm} against two plain epochs", [row], details, host, json)


def seconds_per_image(size: int, batch_size: int) -> float:
    """Of InceptionV3's forward pass: the fastest of some batches."""
    import tensorflow as tf

    from trainer.backbones.networks import load_backbone

    backbone = load_backbone("inception_v3", size, "random")
    run = tf.function(lambda batch: backbone(batch, training=False))
    batch = tf.zeros([batch_size, size, size, 3])
    run(batch)
    timed = []
    for _ in range(TIMED_BATCHES):
        started = time.monotonic()
        run(batch)
        timed.append(time.monotonic() - started)
    return min(timed) / batch_size


def vectors(count: int, seed: int) -> Any:
    """Like pooled features: none below zero, and their class shows in some."""
    from trainer.calibration.unknown import Pooled

    random = np.random.default_rng(seed)
    label_ids = np.arange(count) % CLASSES
    inputs = random.gamma(0.5, 0.8, [count, WIDTH]).astype("float32")
    for number in range(40):
        inputs[np.arange(count), label_ids * 40 + number] += 0.5
    return Pooled(inputs, label_ids)


def search(config: Config, images: int) -> dict[str, Any]:
    """Runs the head's trials; a fifth as many images for validation."""
    from trainer.tuning.head_trials import HeadTrials, TrialResult
    from trainer.tuning.job import head_values
    from trainer.tuning.search import Search, StageTuner, Values

    stage = node_args.tuner(config).plan.head
    started = time.monotonic()
    trials = HeadTrials(
        [vectors(images, 0)],
        vectors(images // 5, 1),
        CLASSES,
        config.train.global_batch_size,
        config.fits.head.patience,
        config.train.seed,
    )

    def run(values: Values, max_epochs: int) -> TrialResult:
        return trials.run(head_values(values), max_epochs)

    with tempfile.TemporaryDirectory() as folder:
        found = Search(StageTuner(stage, config.train.seed, run, folder), None, stage.trials)
        found.search()
        records = found.records()
    return {
        "seconds": time.monotonic() - started,
        "trials": len(records),
        "epochs": sum(record.epochs for record in records),
    }


if __name__ == "__main__":
    typer.run(main)
