"""What follows from the answers to the gate's questions, and how it is said."""

import math
from collections.abc import Sequence

import numpy as np

from components.gate import statistics
from components.gate.rule import GateRule
from components.gate.statistics import Gain, Pairs
from components.gate.verdict import Clause, Outcome
from components.gate.words import points
from trainer.data.predictions import Folds

# Of shares of images: a gain of 1 in 100 is no more than a `min_gain` of 0.01.
ROUNDING = 1e-12


def decide(clauses: Sequence[Clause], gain: Gain, rule: GateRule) -> Outcome:
    """What becomes of the candidate by the answers to all questions."""
    passed = {clause.name: clause.passed for clause in clauses}
    if gain.p_value_of_loss < rule.alpha or not passed["harm"]:
        return "refuse"
    if not passed.get("calibration", True):
        return "refuse"
    if gain.estimate <= rule.min_gain + ROUNDING:
        return "keep_baseline"
    if not passed["choice"]:
        return "undecided"
    missed = [clause for clause in clauses if not clause.passed]
    if not missed:
        return "promote"
    # Below the limit itself, and not only too near to it for so few images.
    below = any(clause.estimate < clause.threshold - ROUNDING for clause in missed)
    return "refuse" if below else "undecided"


def sentence_of(
    outcome: Outcome, clauses: Sequence[Clause], found: Gain, images: str, rule: GateRule
) -> str:
    """The outcome in words.

    Args:
      outcome: from `decide`.
      clauses: the answers.
      found: the gain.
      images: how many images of which kind it was found on.
      rule: the limits.
    """
    gain = f"{points(found.estimate)} on {images}"
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


def power_of(
    pairs: Pairs,
    gain: Gain,
    rule: GateRule,
    outcome: Outcome,
    alpha: float,
    folds: Folds | None,
) -> str:
    """What gain these images could have shown, and how many images would show the one in question.

    The share of images that the models differ on is taken from these images, with one added so
    that it is never 0. Grouped images count as their groups.
    """
    images = len(pairs.by_group())
    discordance = min(1.0, (np.sum(pairs.difference != 0) + 1) / (len(pairs.difference) + 1))
    by_error = rule.metric != "accuracy" or folds is not None
    if not by_error:
        detectable = statistics.detectable_gain(images, discordance, alpha)
    else:
        detectable = statistics.detectable_by_error(gain.error, alpha)
    kind = "images" if folds else "test images"
    if images < len(pairs.difference):
        kind = f"groups of {kind}"
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
    if by_error and detectable:
        needed = math.ceil(images * (detectable / asked) ** 2)
    elif asked <= discordance:
        needed = statistics.images_needed(discordance, asked, alpha)
    if needed > images:
        sentence += f" About {needed:,} would show a gain of {100 * asked:.1f} points."
    return sentence
