"""Proof, after each fit, of which weights moved and which did not."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
import tf_keras as keras

from trainer.errors import ThawError


class UnexpectedWeights(ThawError):
    """A frozen weight moved, or a trainable one did not: the fit did not do its job."""


def snapshot(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies every weight of the model, BatchNorm statistics included, by name."""
    return {weight.name: weight.numpy().copy() for weight in model.weights}


def moved_weights(before: dict[str, np.ndarray], model: keras.Model) -> set[str]:
    """Names the weights whose value is not exactly what it was. NaN counts as moved."""
    return {
        weight.name
        for weight in model.weights
        if not np.array_equal(before[weight.name], weight.numpy())
    }


def check_fit_moved(
    before: dict[str, np.ndarray],
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    may_move: Iterable[str] = (),
) -> None:
    """Checks that no frozen weight moved since `before`, and that every trainable one could.

    Changing `trainable` after `compile` silently trains nothing, and a default call of
    the backbone silently moves BatchNorm statistics; neither shows in the loss. A weight
    that the optimizer updates may still stay where it is: where all images are classified
    with certainty, or gradients cancel, a step is smaller than the weight's rounding.

    Args:
      before: `snapshot` of the model as it was before the fit.
      model: the model after the fit, as it was compiled.
      optimizer: of the fit.
      may_move: names of weights that are free to move or not (statistics of BatchNorm
        layers that follow the data).

    Raises:
      UnexpectedWeights: listing the frozen weights that moved and the trainable ones
        that were never updated.
    """
    moved = moved_weights(before, model)
    trainable = {weight.name for weight in model.trainable_weights}
    wrongly_moved = sorted(moved - trainable - set(may_move))
    left_out = sorted(
        weight.name
        for weight in model.trainable_weights
        if weight.name not in moved and not _updates(optimizer, weight)
    )
    problems = []
    if wrongly_moved:
        problems.append(f"{len(wrongly_moved)} frozen weights moved: {_some(wrongly_moved)}")
    if left_out:
        problems.append(f"{len(left_out)} trainable weights did not move: {_some(left_out)}")
    if problems:
        raise UnexpectedWeights(
            "; ".join(problems) + ".\n  Set `trainable` before `compile`, and call the backbone "
            "with training=False."
        )


def _updates(optimizer: keras.optimizers.Optimizer, weight: tf.Variable) -> bool:
    """Whether an optimizer was built for a weight. One not built has not run in this process."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # under LossScaleOptimizer
    # Keras has no public way to ask: without momentum there is no variable for a weight.
    known = getattr(inner, "_index_dict", None)
    return known is None or inner._var_key(weight) in known


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
