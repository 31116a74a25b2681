"""What a model must be by itself: no worse than the served one, and good enough."""

from collections.abc import Sequence

import numpy as np

from components.gate import statistics
from components.gate.measure import measure
from components.gate.outcome import ROUNDING
from components.gate.rule import GateRule
from components.gate.served import Served, ServedAnswer
from components.gate.statistics import Pairs
from components.gate.verdict import Clause
from components.gate.words import p_value_words, points
from trainer.data.predictions import Predictions
from trainer.errors import ThawError

# Of one model's answers to a file and to its cached features; see ServingCheck's tolerances.
_SAME_PROBABILITY = 1e-2


def promotion_clause(
    predictions: Predictions, served: Served, rule: GateRule, model: str
) -> Clause:
    """Is a model no worse than the one that is served now, or better if asked?

    Args:
      predictions: of all test images.
      served: what the served model said of them.
      rule: the limits.
      model: `CANDIDATE` or `BASELINE`.

    Raises:
      ThawError: if `served` lacks some images.
    """
    missing = set(predictions.ids) - served.answers.keys()
    if missing:
        raise ThawError(
            f"{len(missing)} test images are in the evaluation, but not among the ingested ones.",
            to_do="Delete the artifacts of the Evaluator, and run the same command again.",
        )
    answers = [served.answers[identity] for identity in predictions.ids]
    right = np.array(
        [one.class_name == label for one, label in zip(answers, predictions.labels, strict=True)]
    )
    pairs = Pairs(right, predictions.right(model), predictions.group_numbers())
    low, high = statistics.gain_interval(pairs, confidence=1 - 2 * rule.alpha)
    p_value = statistics.sign_flip_p_value(pairs.by_group())
    if rule.must_beat_served:
        passed, threshold = p_value < rule.alpha and pairs.gain > ROUNDING, 0.0
    else:
        passed, threshold = low > -rule.served_margin, -rule.served_margin
        passed = passed or _is_the_same(pairs, predictions.answers[model].probabilities, answers)
    accuracies = (
        f"The model that is served now (version {served.version}) has a test accuracy of "
        f"{right.mean():.1%}; the {model}'s is {points(pairs.gain)} "
        f"({1 - 2 * rule.alpha:.0%} confidence interval {points(low)} to {points(high)})"
    )
    asked = (
        f"it must be better beyond chance (p {p_value_words(p_value)})"
        if rule.must_beat_served
        else f"it may be {100 * rule.served_margin:.1f} points worse at most"
    )
    return Clause(
        name="promotion",
        passed=passed,
        sentence=f"{accuracies}; {asked}"
        + ("." if passed else ", which these images do not show."),
        estimate=pairs.gain,
        low=low,
        high=high,
        p_value=p_value,
        threshold=threshold,
    )


def _is_the_same(pairs: Pairs, own: np.ndarray, answers: Sequence[ServedAnswer]) -> bool:
    """Whether the served model is the judged one itself: it gives the same answers."""
    theirs = np.array([one.probability for one in answers], np.float32)
    return not pairs.difference.any() and bool(np.max(np.abs(own - theirs)) < _SAME_PROBABILITY)


def floor_clause(predictions: Predictions, rule: GateRule, model: str) -> Clause:
    """Is a model good enough, whatever it is compared with?

    Args:
      predictions: of all test images.
      rule: the limits.
      model: `CANDIDATE` or `BASELINE`.
    """
    right, classes = predictions.right(model), predictions.label_ids
    pairs = Pairs(right, right, predictions.group_numbers())
    measured = measure(pairs, classes, rule)
    if rule.metric == "accuracy":
        low = statistics.accuracy_bound(pairs.candidate, pairs.groups, rule.alpha)
    else:
        low = statistics.macro_recall_bound(pairs.candidate, pairs.groups, classes, rule.alpha)
    passed = low >= rule.min_accuracy - ROUNDING
    if passed:
        verb = "reaches"
    elif measured.after < rule.min_accuracy:
        verb = "misses"
    else:
        verb = "does not surely reach"
    return Clause(
        name="floor",
        passed=passed,
        sentence=f"{measured.name} {measured.after:.1%} {verb} the required "
        f"{rule.min_accuracy:.1%}: it is at least {low:.1%} with {1 - rule.alpha:.0%} confidence.",
        estimate=measured.after,
        low=low,
        high=None,
        p_value=None,
        threshold=rule.min_accuracy,
    )
