"""Fit 1 without epochs: L-BFGS solves a head without a hidden layer, a logistic regression.

Kumar et al. (2022, "Fine-tuning can distort pretrained features") show why fine-tuning should start
from a head that is solved rather than from one that is on its way.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from trainer.calibration.probe import STRENGTHS, Probe, fit_probes
from trainer.calibration.unknown import Pooled
from trainer.distribution.strategy import exchange, from_chief, this_worker
from trainer.fits.record import Solved
from trainer.model.weight_files import load_weights, save_weights
from trainer.process import progress

START_FILE = os.path.join("warm_start", "start_head.weights.h5")
"""In the model's folder of fit 1: the head that fit 2 starts from, where it is another."""

# Training images times classes. L-BFGS takes minutes for so many, which fit 2 takes hours for.
_MOST_WORK = 1_000_000

# The strength that validation likes best can fit all training images with certainty, and then
# their gradients say nothing more to fit 2: see docs/fast.md for what that costs.
_MOST_OF_START = 0.003

Splits = tuple[Pooled, Pooled]
"""Training and validation images."""


@dataclass(frozen=True)
class SolvedHead:
    """A solved head, the same on every worker.

    Attributes:
      weights: float32 [width, classes] and [classes], with the strength that is best on validation.
      start: likewise, held back more strongly: what fit 2 starts from.
      record: how they were found; on the chief alone.
    """

    weights: list[np.ndarray]
    start: list[np.ndarray]
    record: Solved | None


def solve_head(
    strategy: tf.distribute.Strategy,
    load: Callable[[], Splits | None],
    shape: tuple[int, int],
) -> SolvedHead | None:
    """Solves a linear head on the chief. All workers call it together.

    Args:
      strategy: of the fit.
      load: the images with their weights; None if they do not fit in memory. The chief calls it.
      shape: width of the pooled vectors, and of the logits.

    Returns:
      None if there are too many images for it, or too few.
    """
    probes: list[Probe] | None = None
    if this_worker(strategy).is_chief and (splits := load()):
        counter = progress.Counter("strengths of the penalty tried", len(STRENGTHS))
        probes = fit_probes(*splits, shape[1], _MOST_WORK, counter.add)
    if not exchange(strategy, int(bool(probes)))[0]:
        return None
    arrays = [np.zeros(one, np.float32) for one in (shape, shape[1:])] * 2
    record = None
    if probes:
        best = min(probes, key=lambda probe: probe.val_loss)
        # The strengths ascend.
        start = [one for one in probes if one.strength <= min(best.strength, _MOST_OF_START)][-1]
        arrays = [best.kernel, best.bias, start.kernel, start.bias]
        losses = {f"{probe.strength:g}": probe.val_loss for probe in probes}
        record = Solved(best.strength, start.strength, losses)
    arrays = from_chief(strategy, arrays)
    return SolvedHead(arrays[:2], arrays[2:], record)


def save_start(head: keras.Model, solved: SolvedHead, model_dir: str) -> None:
    """Writes what fit 2 starts from.

    Args:
      head: from `on_pooled`; its weights are changed.
      solved: by `solve_head`.
      model_dir: of fit 1.
    """
    head.set_weights(solved.start)
    save_weights(head, os.path.join(model_dir, START_FILE))


def load_start(head: keras.Model, model_dir: str) -> list[np.ndarray] | None:
    """Reads what `save_start` has written into `head`; None if there is no such file."""
    path = os.path.join(model_dir, START_FILE)
    if not tf.io.gfile.exists(path):
        return None
    load_weights(head, path)
    return head.get_weights()
