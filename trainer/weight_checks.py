"""Proof, after each fit, of which weights moved and which did not."""

from collections.abc import Iterable

import numpy as np
import tf_keras as keras


class UnexpectedWeights(RuntimeError):
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
    before: dict[str, np.ndarray], model: keras.Model, may_move: Iterable[str] = ()
) -> None:
    """Checks that exactly the trainable weights moved since `before`.

    Changing `trainable` after `compile` silently trains nothing, and a default call of
    the backbone silently moves BatchNorm statistics; neither shows in the loss.

    Args:
      before: `snapshot` of the model as it was before the fit.
      model: the model after the fit, as it was compiled.
      may_move: names of weights that are free to move or not (statistics of BatchNorm
        layers that were told to follow the data).

    Raises:
      UnexpectedWeights: listing the frozen weights that moved and the trainable ones
        that did not.
    """
    moved = moved_weights(before, model)
    trainable = {weight.name for weight in model.trainable_weights}
    wrongly_moved = sorted(moved - trainable - set(may_move))
    unmoved = sorted(trainable - moved)
    problems = []
    if wrongly_moved:
        problems.append(f"{len(wrongly_moved)} frozen weights moved: {_some(wrongly_moved)}")
    if unmoved:
        problems.append(f"{len(unmoved)} trainable weights did not move: {_some(unmoved)}")
    if problems:
        raise UnexpectedWeights(
            "; ".join(problems) + ".\n  Set `trainable` before `compile`, call the backbone with "
            "training=False, and check that the learning rate is not too small to matter."
        )


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
