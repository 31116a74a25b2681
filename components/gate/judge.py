"""Judges a candidate by the models' answers to the test images: one question after the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.gate import statistics
from components.gate.calibration import calibration_clause
from components.gate.ledger import Look
from components.gate.reference import compare_references
from components.gate.rule import GateRule
from components.gate.served import Served, ServedAnswer
from components.gate.statistics import Gain, Pairs
from components.gate.verdict import Clause, Outcome, Verdict
from components.gate.words import p_value_words, points
from trainer.data.predictions import BASELINE, CANDIDATE, Predictions
from trainer.errors import ThawError

# Of shares of images: a gain of 1 in 100 is no more than a `min_gain` of 0.01.
_ROUNDING = 1e-12
# Of one model's answers to a file and to its cached features; see ServingCheck's tolerances.
_SAME_PROBABILITY = 1e-2


def judge(
    predictions: Predictions,
    rule: GateRule,
    served: Served | None = None,
    look: Look | None = None,
    temperature: float = 1.0,
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

    Raises:
      ThawError: if there are no test images, or `served` lacks some.
    """
    if not len(predictions):
        raise ThawError(
            "there are no test images to judge by.",
            to_do="Raise data.splits.test, or add images.",
        )
    pairs = Pairs(
        predictions.right(BASELINE), predictions.right(CANDIDATE), predictions.group_numbers()
    )
    measured = measure(pairs, predictions.label_ids, rule)
    alpha = look.alpha if look else rule.alpha
    clauses = [_choice(measured, rule, alpha)]
    if served:
        clauses.append(_promotion(predictions, served, rule))
    if rule.min_accuracy:
        clauses.append(_floor(pairs, predictions.label_ids, measured, rule))
    clauses.append(_harm(pairs, predictions.labels, rule))
    if rule.max_calibration_error:
        clauses.append(calibration_clause(predictions, temperature, rule))
    outcome = _outcome(clauses, measured.gain, rule)
    return Verdict(
        outcome=outcome,
        sentence=_sentence(outcome, clauses, measured.gain, len(predictions), rule),
        clauses=clauses,
        power=_power(pairs, measured.gain, rule, outcome, alpha),
        images=len(predictions),
        groups=len(pairs.by_group()),
        candidate_only=int(np.sum(pairs.difference > 0)),
        baseline_only=int(np.sum(pairs.difference < 0)),
        served_version=served.version if served else "",
        earlier_candidates=look.earlier if look else 0,
        reuse=_reuse(look, rule) if look else "",
        references=compare_references(predictions, rule),
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


def measure(pairs: Pairs, classes: np.ndarray, rule: GateRule) -> Measured:
    """Compares both models by the rule's metric.

    Args:
      pairs: both models' answers.
      classes: int [n], the true class of each image.
      rule: names the metric.
    """
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
    return gain > rule.min_gain + _ROUNDING and p_value < alpha


def _choice(measured: Measured, rule: GateRule, alpha: float) -> Clause:
    """Is the candidate better than the baseline?"""
    gain = measured.gain
    enough = gain.estimate > rule.min_gain + _ROUNDING
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
        passed, threshold = p_value < rule.alpha and pairs.gain > _ROUNDING, 0.0
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


def _floor(pairs: Pairs, classes: np.ndarray, measured: Measured, rule: GateRule) -> Clause:
    """Is the candidate good enough, whatever the baseline is?"""
    if rule.metric == "accuracy":
        low = statistics.accuracy_bound(pairs.candidate, pairs.groups, rule.alpha)
    else:
        low = statistics.macro_recall_bound(pairs.candidate, pairs.groups, classes, rule.alpha)
    passed = low >= rule.min_accuracy - _ROUNDING
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
        if loss > rule.max_class_loss + _ROUNDING and p_value < rule.alpha
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


def _outcome(clauses: Sequence[Clause], gain: Gain, rule: GateRule) -> Outcome:
    passed = {clause.name: clause.passed for clause in clauses}
    if gain.p_value_of_loss < rule.alpha or not passed["harm"]:
        return "refuse"
    if not passed.get("calibration", True):
        return "refuse"
    if gain.estimate <= rule.min_gain + _ROUNDING:
        return "keep_baseline"
    if not passed["choice"]:
        return "undecided"
    missed = [clause for clause in clauses if not clause.passed]
    if not missed:
        return "promote"
    # Below the limit itself, and not only too near to it for so few images.
    below = any(clause.estimate < clause.threshold - _ROUNDING for clause in missed)
    return "refuse" if below else "undecided"


def _sentence(
    outcome: Outcome, clauses: Sequence[Clause], found: Gain, images: int, rule: GateRule
) -> str:
    gain = f"{points(found.estimate)} on {images} test images"
    if outcome == "promote":
        return f"The fine-tuned model is better than its baseline: {gain}, beyond chance."
    if outcome == "keep_baseline":
        return f"Fine-tuning did not help: {gain}. Keep the baseline."
    failed = {clause.name for clause in clauses if not clause.passed}
    if outcome == "undecided" and "choice" in failed:
        return f"Undecided: {gain}, which can be due to chance."
    if outcome == "undecided":
        unsure = (
            "that it is no worse than the model that is served now"
            if "promotion" in failed
            else f"an accuracy of {rule.min_accuracy:.1%}"
        )
        return f"Undecided: better than the baseline ({gain}), but {unsure} is not certain."
    if found.p_value_of_loss < rule.alpha:
        return f"Refused: the fine-tuned model is worse than its baseline: {gain}, beyond chance."
    if "harm" in failed:
        return f"Refused: the fine-tuned model harms a class ({gain} overall)."
    if "calibration" in failed:
        return f"Refused: the fine-tuned model's probabilities are too far off ({gain})."
    if "promotion" in failed:
        return (
            f"Refused: better than its baseline ({gain}), but worse than the model that is "
            "served now."
        )
    return f"Refused: better than the baseline ({gain}), but below {rule.min_accuracy:.1%}."


def _power(pairs: Pairs, gain: Gain, rule: GateRule, outcome: Outcome, alpha: float) -> str:
    """What gain these images could have shown, and how many images would show the one in question.

    The share of images that the models differ on is taken from these images, with one added so
    that it is never 0. Grouped images count as their groups.
    """
    images = len(pairs.by_group())
    discordance = min(1.0, (np.sum(pairs.difference != 0) + 1) / (len(pairs.difference) + 1))
    if rule.metric == "accuracy":
        detectable = statistics.detectable_gain(images, discordance, alpha)
    else:
        detectable = statistics.detectable_by_error(gain.error, alpha)
    kind = "test images" if images == len(pairs.difference) else "groups of test images"
    if detectable is None:
        sentence = (
            f"{images} {kind} are too few to show any gain: the two models differ on "
            f"{discordance:.0%} of them."
        )
    else:
        sentence = (
            f"{images} {kind}, {discordance:.0%} of which the two models differ on, show a gain "
            f"of {100 * detectable:.1f} points in four cases of five."
        )
    asked = gain.estimate if outcome == "undecided" else rule.min_gain
    if outcome == "promote" or asked <= 0:
        return sentence
    needed = 0
    if rule.metric == "macro_recall" and detectable:
        needed = math.ceil(images * (detectable / asked) ** 2)
    elif asked <= discordance:
        needed = statistics.images_needed(discordance, asked, alpha)
    if needed > images:
        sentence += f" About {needed:,} would show a gain of {100 * asked:.1f} points."
    return sentence
