"""One side of `benchmarks.fit2`: Thaw's fit 2, or a bare compiled loop over the same features.

Both begin with the weights that Thaw's fit 1 left, and train the same layers.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tensorflow as tf

from benchmarks.recipe_data import Recipe
from benchmarks.recipe_thaw import FINE_TUNE, HEAD, make_job, run_head, run_trunk
from trainer.data import fit_data
from trainer.fit_specs import FineTune
from trainer.job import build
from trainer.job_data import parser_of, train_views
from trainer.model.classifier import on_trunk_features, thaw_above
from trainer.run_fits import run_fine_tune

_RATE, _MOMENTUM = 1e-4, 0.9


def prepare(recipe: Recipe, folder: Path) -> dict[str, float]:
    """Runs the trunk and fit 1."""
    run_trunk(recipe, folder)
    return {"seconds": run_head(recipe, folder)["work_seconds"]}


def thaw(recipe: Recipe, folder: Path) -> dict[str, float]:
    """Seconds of fit 2 as a run has it: tracing, validation and checkpoints included."""
    fit = FineTune(recipe.boundary, _RATE, _MOMENTUM, recipe.epochs, recipe.most_wait)
    return {
        "seconds": run_fine_tune(
            make_job(recipe, folder, FINE_TUNE), fit, str(folder / HEAD)
        ).seconds
    }


def bare(recipe: Recipe, folder: Path) -> dict[str, float]:
    """Seconds of a compiled loop over arrays in memory: the same passes, nothing else.

    It is traced before the clock starts.
    """
    job = make_job(recipe, folder, FINE_TUNE)
    built = build(job)
    thaw_above(built.backbone, recipe.boundary_layer)
    part = on_trunk_features(built.classifier, built.backbone, recipe.boundary_layer)
    parse = parser_of(job, part)
    train = _load(train_views(job)[0], parse, job.spec.num_classes)
    val = _load(fit_data.list_files(job.val_files), parse, job.spec.num_classes)
    optimizer = tf.keras.optimizers.SGD(_RATE, momentum=_MOMENTUM)
    optimizer.build(part.trainable_variables)

    def loss_of(inputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        logits = part(tf.cast(inputs, tf.float32), training=False)
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, logits))

    @tf.function(reduce_retracing=True)
    def train_step(inputs: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(inputs, labels)
        gradients = tape.gradient(loss, part.trainable_variables)
        optimizer.apply_gradients(zip(gradients, part.trainable_variables, strict=True))
        return loss

    val_step = tf.function(loss_of, reduce_retracing=True)

    def one_pass(arrays: tuple[tf.Tensor, tf.Tensor], step: tf.types.experimental.Callable) -> None:
        inputs, labels = arrays
        for begin in range(0, len(inputs), recipe.batch_size):
            rows = slice(begin, begin + recipe.batch_size)
            step(inputs[rows], labels[rows])

    one_pass(val, val_step)
    one_pass(tuple(one[: 2 * recipe.batch_size + 1] for one in train), train_step)
    started = time.monotonic()
    for _ in range(recipe.epochs):
        one_pass(train, train_step)
        one_pass(val, val_step)
    return {"seconds": time.monotonic() - started}


def _load(files: list[str], parse: fit_data.Parse, num_classes: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Features in float16, and one-hot labels."""
    pairs = [parse(record)[:2] for record in fit_data.read_records(files)]
    inputs, ids = zip(*pairs, strict=True)
    return tf.cast(tf.stack(inputs), tf.float16), tf.one_hot(tf.stack(ids), num_classes)


def main(side: str, recipe: Recipe, folder: Path) -> None:
    """Runs a side; prints its seconds."""
    print(json.dumps({"prepare": prepare, "thaw": thaw, "bare": bare}[side](recipe, folder)))


if __name__ == "__main__":
    main(sys.argv[1], Recipe.from_json(sys.argv[2]), Path(sys.argv[3]))
    sys.stdout.flush()
    os._exit(0)  # libraries' threads have hung in the interpreter's shutdown
