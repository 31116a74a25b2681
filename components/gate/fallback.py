"""Whether the baseline is pushed where the candidate is not promoted."""

from dataclasses import dataclass

from components.gate.requirements import floor_clause, promotion_clause
from components.gate.rule import GateRule
from components.gate.served import Served
from components.gate.verdict import Outcome
from trainer.data.predictions import BASELINE, Predictions


@dataclass(frozen=True)
class Fallback:
    """What becomes of the baseline: whether it is pushed, and why; empty if nobody asked."""

    push: bool
    sentence: str


def judge_fallback(
    outcome: Outcome, predictions: Predictions, rule: GateRule, served: Served | None
) -> Fallback:
    """Asks of the baseline what is asked of any model that is served.

    Args:
      outcome: of the candidate.
      predictions: of all test images.
      rule: says whether the baseline may be pushed at all, and the limits.
      served: what the model that is served now said of the same images; None: there is none.
    """
    if rule.fallback == "nothing" or outcome == "promote":
        return Fallback(push=False, sentence="")
    clauses = [promotion_clause(predictions, served, rule, BASELINE)] if served else []
    if rule.min_accuracy:
        clauses.append(floor_clause(predictions, rule, BASELINE))
    missed = [clause.sentence for clause in clauses if not clause.passed]
    if missed:
        return Fallback(push=False, sentence=f"The baseline is not pushed either. {missed[0]}")
    return Fallback(push=True, sentence="The baseline is pushed in its place (gate.fallback).")
