"""What models are compared by."""

from dataclasses import dataclass

import numpy as np

from components.gate import statistics
from components.gate.rule import GateRule
from components.gate.statistics import Gain, Pairs
from trainer.data.predictions import BASELINE, CANDIDATE, Folds, Predictions


def pairs_of(predictions: Predictions) -> Pairs:
    """Both models' answers, in groups."""
    return Pairs(
        predictions.right(BASELINE), predictions.right(CANDIDATE), predictions.group_numbers()
    )


@dataclass(frozen=True)
class Measured:
    """What the choice is made by.

    Attributes:
      name: of the metric, as a sentence begins with it.
      test: name of the test.
      before: the baseline's, 0 to 1.
      after: the candidate's.
      gain: the difference, and what is known of it.
    """

    name: str
    test: str
    before: float
    after: float
    gain: Gain


def measure(
    pairs: Pairs, classes: np.ndarray, rule: GateRule, folds: Folds | None = None
) -> Measured:
    """Compares both models by the rule's metric.

    Args:
      pairs: both models' answers.
      classes: int [n], the true class of each image.
      rule: names the metric.
      folds: of cross-fitted answers; None: all are of the same two models.
    """
    if folds:
        before, after = float(pairs.baseline.mean()), float(pairs.candidate.mean())
        gain = statistics.cross_fitted_gain(pairs, folds.numbers, folds.train_images)
        test = f"corrected t test over {len(folds.train_images)} folds, and exact McNemar test"
        return Measured("Cross-fitted accuracy", test, before, after, gain)
    if rule.metric == "accuracy":
        before, after = float(pairs.baseline.mean()), float(pairs.candidate.mean())
        gain = statistics.accuracy_gain(pairs)
        return Measured("Test accuracy", "exact McNemar test", before, after, gain)
    before, after = (_macro_recall(one, classes) for one in (pairs.baseline, pairs.candidate))
    gain = statistics.macro_recall_gain(pairs, classes)
    return Measured("Mean recall of the classes", "paired bootstrap", before, after, gain)


def _macro_recall(right: np.ndarray, classes: np.ndarray) -> float:
    return float(np.mean([right[classes == one].mean() for one in np.unique(classes)]))
