"""Judges a candidate by the models' answers to the test images: one question after the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.gate import statistics
from components.gate.calibration import calibration_clause
from components.gate.ledger import Look
from components.gate.outcome import ROUNDING, decide, power_of, sentence_of
from components.gate.reference import compare_references
from components.gate.rule import GateRule
from components.gate.served import Served, ServedAnswer
from components.gate.statistics import Gain, Pairs
from components.gate.verdict import Clause, Verdict
from components.gate.words import p_value_words, points
from trainer.data.predictions import BASELINE, CANDIDATE, Folds, Predictions
from trainer.errors import ThawError

# Of one model's answers to a file and to its cached features; see ServingCheck's tolerances.
_SAME_PROBABILITY = 1e-2


def judge(
    predictions: Predictions,
    rule: GateRule,
    served: Served | None = None,
    look: Look | None = None,
    temperature: float = 1.0,
    evidence: Predictions | None = None,
) -> Verdict:
    """Decides what becomes of a candidate.

    The questions stand in a fixed order and each is tested at `rule.alpha`: a later one can only
    take a promotion back, so that the chance of a false one stays below alpha (gatekeeping;
    Dmitrienko and Tamhane 2007).

    Args:
      predictions: of all test images.
      rule: the limits.
      served: what the model that is served now said of the same images; None: there is none.
      look: what the ledger knows of earlier looks at these images; None: there is no ledger.
      temperature: that the candidate was calibrated with.
      evidence: cross-fitted predictions of all images: the choice and the harm are judged by them;
        None: by the test images.

    Raises:
      ThawError: if there are no test images, or `served` lacks some.
    """
    if not len(predictions):
        raise ThawError(
            "there are no test images to judge by.",
            to_do="Raise data.splits.test, or add images.",
        )
    judged = evidence or predictions
    pairs = _pairs_of(judged)
    measured = measure(pairs, judged.label_ids, rule, judged.folds)
    kind = "images, each left out once" if judged.folds else "test images"
    alpha = look.alpha if look else rule.alpha
    clauses = [_choice(measured, rule, alpha)]
    if served:
        clauses.append(_promotion(predictions, served, rule))
    if rule.min_accuracy:
        clauses.append(_floor(_pairs_of(predictions), predictions.label_ids, rule))
    clauses.append(_harm(pairs, judged.labels, rule))
    if rule.max_calibration_error:
        clauses.append(calibration_clause(predictions, temperature, rule))
    outcome = decide(clauses, measured.gain, rule)
    return Verdict(
        outcome=outcome,
        sentence=sentence_of(outcome, clauses, measured.gain, f"{len(judged)} {kind}", rule),
        clauses=clauses,
        power=power_of(pairs, measured.gain, rule, outcome, alpha, judged.folds),
        images=len(judged),
        groups=len(pairs.by_group()),
        candidate_only=int(np.sum(pairs.difference > 0)),
        baseline_only=int(np.sum(pairs.difference < 0)),
        served_version=served.version if served else "",
        earlier_candidates=look.earlier if look else 0,
        reuse=_reuse(look, rule) if look else "",
        references=compare_references(predictions, rule),
        folds=len(judged.folds.train_images) if judged.folds else 0,
    )


def _pairs_of(predictions: Predictions) -> Pairs:
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


def passes_choice(gain: float, p_value: float, rule: GateRule, alpha: float) -> bool:
    """Whether a gain is enough, and beyond chance at a level."""
    return gain > rule.min_gain + ROUNDING and p_value < alpha


def _choice(measured: Measured, rule: GateRule, alpha: float) -> Clause:
    """Is the candidate better than the baseline?"""
    gain = measured.gain
    enough = gain.estimate > rule.min_gain + ROUNDING
    change = (
        f"{measured.name} went from {measured.before:.1%} to {measured.after:.1%}, "
        f"{points(gain.estimate)} (95 % confidence interval {points(gain.low)} to "
        f"{points(gain.high)})"
    )
    chance = f"{measured.test}, p {p_value_words(gain.p_value)}"
    if alpha != rule.alpha:
        chance += f"; this look asks for p below {alpha:.2g}"
    passed = passes_choice(gain.estimate, gain.p_value, rule, alpha)
    if passed:
        sentence = f"{change}, more than chance explains ({chance})."
    elif enough:
        sentence = f"{change}; a gain like this can be due to chance ({chance})."
    else:
        sentence = (
            f"{change}, but the gate requires a gain of more than {100 * rule.min_gain:.1f} points."
        )
    return Clause(
        name="choice",
        passed=passed,
        sentence=sentence,
        estimate=gain.estimate,
        low=gain.low,
        high=gain.high,
        p_value=gain.p_value,
        threshold=rule.min_gain,
    )


def _reuse(look: Look, rule: GateRule) -> str:
    """What earlier looks at the same images mean for this one."""
    counted = {0: "No other candidate was", 1: "1 other candidate was"}
    others = counted.get(look.earlier, f"{look.earlier} other candidates were")
    if rule.reuse == "spend":
        return (
            f"{others} judged by these test images before. Of the accepted chance of "
            f"{rule.alpha:g}, {look.alpha:.2g} is spent on this one, and {look.left:.2g} is left; "
            "new test images add to it."
        )
    if not look.earlier:
        return ""
    by_luck = 1 - (1 - rule.alpha) ** (look.earlier + 1)
    return (
        f"{others} judged by these test images before. If none of them were better, the chance "
        f"that one passes by luck would be up to {by_luck:.0%} by now; gate.reuse: spend keeps it "
        f"at {rule.alpha:.0%}."
    )


def _promotion(predictions: Predictions, served: Served, rule: GateRule) -> Clause:
    """Is the candidate no worse than the model that is served now, or better if asked?"""
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
    pairs = Pairs(right, predictions.right(CANDIDATE), predictions.group_numbers())
    low, high = statistics.gain_interval(pairs, confidence=1 - 2 * rule.alpha)
    p_value = statistics.sign_flip_p_value(pairs.by_group())
    if rule.must_beat_served:
        passed, threshold = p_value < rule.alpha and pairs.gain > ROUNDING, 0.0
    else:
        passed, threshold = low > -rule.served_margin, -rule.served_margin
        passed = passed or _is_the_same(pairs, predictions, answers)
    accuracies = (
        f"The model that is served now (version {served.version}) has a test accuracy of "
        f"{right.mean():.1%}; the candidate's is {points(pairs.gain)} "
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


def _is_the_same(pairs: Pairs, predictions: Predictions, answers: Sequence[ServedAnswer]) -> bool:
    """Whether the served model is the candidate itself: it gives the same answers."""
    own = predictions.answers[CANDIDATE].probabilities
    theirs = np.array([one.probability for one in answers], np.float32)
    return not pairs.difference.any() and bool(np.max(np.abs(own - theirs)) < _SAME_PROBABILITY)


def _floor(pairs: Pairs, classes: np.ndarray, rule: GateRule) -> Clause:
    """Is the candidate good enough, whatever the baseline is?"""
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


def _harm(pairs: Pairs, labels: Sequence[str], rule: GateRule) -> Clause:
    """Has a class lost more recall than it may, and more than chance explains?"""
    names = sorted(set(labels))
    of_classes = [pairs.of(np.array([label == name for label in labels])) for name in names]
    losses = [-one.gain for one in of_classes]
    p_values = statistics.holm(
        [statistics.sign_flip_p_value(-one.by_group()) for one in of_classes]
    )
    harmed = [
        (name, loss, p_value)
        for name, loss, p_value in zip(names, losses, p_values, strict=True)
        if loss > rule.max_class_loss + ROUNDING and p_value < rule.alpha
    ]
    worst = int(np.argmax(losses))
    allowed = f"more than the allowed {100 * rule.max_class_loss:.1f} points of recall"
    if harmed:
        named = "; ".join(
            f"{name} {100 * loss:.1f} points (p {p_value_words(p)})" for name, loss, p in harmed
        )
        sentence = f"Classes lost {allowed}, and more than chance explains: {named}."
    else:
        sentence = f"No class lost {allowed} beyond chance."
        if losses[worst] > 0:
            sentence += f" The largest loss: {names[worst]}, {100 * losses[worst]:.1f} points."
    return Clause(
        name="harm",
        passed=not harmed,
        sentence=sentence,
        estimate=losses[worst],
        low=None,
        high=None,
        p_value=p_values[worst],
        threshold=rule.max_class_loss,
    )
