"""Judges a candidate by both models' answers to the test images: three questions in turn."""

from collections.abc import Sequence

import numpy as np

from components.gate import statistics
from components.gate.ledger import Look
from components.gate.rule import GateRule
from components.gate.served import Served, ServedAnswer
from components.gate.statistics import Pairs
from components.gate.verdict import Clause, Outcome, Verdict
from trainer.data.predictions import BASELINE, CANDIDATE, Predictions
from trainer.errors import ThawError

# Of shares of images: a gain of 1 in 100 is no more than a `min_gain` of 0.01.
_ROUNDING = 1e-12
# Of one model's answers to a file and to its cached features; see ServingCheck's tolerances.
_SAME_PROBABILITY = 1e-3


def judge(
    predictions: Predictions,
    rule: GateRule,
    served: Served | None = None,
    look: Look | None = None,
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
    choice = choose(pairs, rule, look.alpha if look else None)
    clauses = [choice]
    if served:
        clauses.append(_promotion(predictions, served, rule))
    if rule.min_accuracy:
        clauses.append(_floor(pairs, rule))
    clauses.append(_harm(pairs, predictions.labels, rule))
    outcome = _outcome(clauses, pairs, rule)
    return Verdict(
        outcome=outcome,
        sentence=_sentence(outcome, clauses, pairs, rule),
        clauses=clauses,
        power=_power(pairs, rule, outcome),
        images=len(predictions),
        groups=len(pairs.by_group()),
        candidate_only=int(np.sum(pairs.difference > 0)),
        baseline_only=int(np.sum(pairs.difference < 0)),
        served_version=served.version if served else "",
        earlier_candidates=look.earlier if look else 0,
        reuse=_reuse(look, rule) if look else "",
    )


def choose(pairs: Pairs, rule: GateRule, alpha: float | None = None) -> Clause:
    """Is the candidate better than the baseline?

    Args:
      pairs: both models' answers.
      rule: the limits.
      alpha: level of the test; None: the rule's.
    """
    alpha = rule.alpha if alpha is None else alpha
    p_value = statistics.sign_flip_p_value(pairs.by_group())
    low, high = statistics.gain_interval(pairs)
    enough = pairs.gain > rule.min_gain + _ROUNDING
    beyond_chance = p_value < alpha
    accuracies = (
        f"Test accuracy went from {pairs.baseline.mean():.1%} to {pairs.candidate.mean():.1%}, "
        f"{_points(pairs.gain)} (95 % confidence interval {_points(low)} to {_points(high)})"
    )
    chance = f"exact McNemar test, p {_p(p_value)}"
    if enough and beyond_chance:
        sentence = f"{accuracies}, more than chance explains ({chance})."
    elif enough:
        sentence = f"{accuracies}; a gain like this can be due to chance ({chance})."
    else:
        sentence = (
            f"{accuracies}, but the gate requires a gain of more than "
            f"{100 * rule.min_gain:.1f} points."
        )
    return Clause(
        name="choice",
        passed=enough and beyond_chance,
        sentence=sentence,
        estimate=pairs.gain,
        low=low,
        high=high,
        p_value=p_value,
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
        passed = passed or _is_the_same(predictions, answers)
    accuracies = (
        f"The model that is served now (version {served.version}) has a test accuracy of "
        f"{right.mean():.1%}; the candidate's is {_points(pairs.gain)} "
        f"({1 - 2 * rule.alpha:.0%} confidence interval {_points(low)} to {_points(high)})"
    )
    asked = (
        f"it must be better beyond chance (p {_p(p_value)})"
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


def _is_the_same(predictions: Predictions, answers: Sequence[ServedAnswer]) -> bool:
    """Whether the served model is the candidate itself: it gives the same probabilities."""
    own = predictions.answers[CANDIDATE].probabilities
    theirs = np.array([one.probability for one in answers], np.float32)
    return bool(np.max(np.abs(own - theirs)) < _SAME_PROBABILITY)


def _floor(pairs: Pairs, rule: GateRule) -> Clause:
    """Is the candidate good enough, whatever the baseline is?"""
    accuracy = float(pairs.candidate.mean())
    low = statistics.accuracy_bound(pairs.candidate, pairs.groups, rule.alpha)
    passed = low >= rule.min_accuracy - _ROUNDING
    if passed:
        verb = "reaches"
    elif accuracy < rule.min_accuracy:
        verb = "misses"
    else:
        verb = "does not surely reach"
    return Clause(
        name="floor",
        passed=passed,
        sentence=f"Test accuracy {accuracy:.1%} {verb} the required {rule.min_accuracy:.1%}: it "
        f"is at least {low:.1%} with {1 - rule.alpha:.0%} confidence.",
        estimate=accuracy,
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
    allowed = f"more than the {100 * rule.max_class_loss:.1f} points that a class may lose"
    if harmed:
        named = "; ".join(f"{name} {100 * loss:.1f} points (p {_p(p)})" for name, loss, p in harmed)
        sentence = f"Recall was lost, {allowed}, and more than chance explains: {named}."
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


def _outcome(clauses: Sequence[Clause], pairs: Pairs, rule: GateRule) -> Outcome:
    passed = {clause.name: clause.passed for clause in clauses}
    if _is_worse(pairs, rule) or not passed["harm"]:
        return "refuse"
    if pairs.gain <= rule.min_gain + _ROUNDING:
        return "keep_baseline"
    if not passed["choice"]:
        return "undecided"
    missed = [clause for clause in clauses if not clause.passed]
    if not missed:
        return "promote"
    # Below the limit itself, and not only too near to it for so few images.
    surely = any(clause.estimate < clause.threshold - _ROUNDING for clause in missed)
    return "refuse" if surely else "undecided"


def _is_worse(pairs: Pairs, rule: GateRule) -> bool:
    """Whether the candidate is worse than the baseline, beyond chance."""
    return statistics.sign_flip_p_value(-pairs.by_group()) < rule.alpha


def _sentence(outcome: Outcome, clauses: Sequence[Clause], pairs: Pairs, rule: GateRule) -> str:
    gain = f"{_points(pairs.gain)} on {len(pairs.difference)} test images"
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
    if _is_worse(pairs, rule):
        return f"Refused: the fine-tuned model is worse than its baseline: {gain}, beyond chance."
    if "harm" in failed:
        return f"Refused: the fine-tuned model harms a class ({gain} overall)."
    if "promotion" in failed:
        return (
            f"Refused: better than its baseline ({gain}), but worse than the model that is "
            "served now."
        )
    return f"Refused: better than the baseline ({gain}), but below {rule.min_accuracy:.1%}."


def _power(pairs: Pairs, rule: GateRule, outcome: Outcome) -> str:
    """What gain these images could have shown, and how many images would show the one in question.

    The share of images that the models differ on is taken from these images, with one added so
    that it is never 0. Grouped images count as their groups.
    """
    images = len(pairs.by_group())
    discordance = min(1.0, (np.sum(pairs.difference != 0) + 1) / (len(pairs.difference) + 1))
    detectable = statistics.detectable_gain(images, discordance, rule.alpha)
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
    asked = pairs.gain if outcome == "undecided" else rule.min_gain
    if outcome != "promote" and 0 < asked <= discordance:
        needed = statistics.images_needed(discordance, asked, rule.alpha)
        if needed > images:
            sentence += f" About {needed:,} would show a gain of {100 * asked:.1f} points."
    return sentence


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"


def _p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"
