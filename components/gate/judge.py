"""Judges a candidate by the models' answers to the test images: one question after the other."""

from collections.abc import Sequence

import numpy as np

from components.gate import statistics
from components.gate.calibration import calibration_clause
from components.gate.fallback import judge_fallback
from components.gate.ledger import Look
from components.gate.measure import Measured, measure, pairs_of
from components.gate.outcome import ROUNDING, decide, power_of, sentence_of
from components.gate.reference import compare_references
from components.gate.requirements import floor_clause, promotion_clause
from components.gate.rule import GateRule
from components.gate.served import Served
from components.gate.statistics import Pairs
from components.gate.verdict import Clause, Verdict
from components.gate.words import p_value_words, points
from trainer.data.predictions import CANDIDATE, Predictions
from trainer.errors import ThawError


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
    pairs = pairs_of(judged)
    measured = measure(pairs, judged.label_ids, rule, judged.folds)
    kind = "images, each left out once" if judged.folds else "test images"
    alpha = look.alpha if look else rule.alpha
    clauses = [_choice(measured, rule, alpha)]
    if served:
        clauses.append(promotion_clause(predictions, served, rule, CANDIDATE))
    if rule.min_accuracy:
        clauses.append(floor_clause(predictions, rule, CANDIDATE))
    clauses.append(_harm(pairs, judged.labels, rule))
    if rule.max_calibration_error:
        clauses.append(calibration_clause(predictions, temperature, rule))
    outcome = decide(clauses, measured.gain, rule)
    fallback = judge_fallback(outcome, predictions, rule, served)
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
        push_baseline=fallback.push,
        fallback=fallback.sentence,
        folds=len(judged.folds.train_images) if judged.folds else 0,
    )


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
