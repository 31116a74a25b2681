"""The verdict, as `run.json` holds it."""

from pydantic import Field

from components.gate.verdict import Clause, Reference
from components.serving_check.agreement import Agreement
from pipeline.report.part import Part


class Paired(Part):
    """How the predictions of two models differ on the same images.

    Attributes:
      candidate_only: number of images that only the candidate classified correctly.
      baseline_only: number of images that only the baseline classified correctly.
      p_value: exact one-sided McNemar test, by groups of images: the chance of a gain at least as
        large if both were equally good.
      gain_low: lower end of a 95 % interval of the gain in accuracy, in -1 to 1.
      gain_high: its upper end.
    """

    candidate_only: int
    baseline_only: int
    p_value: float | None
    gain_low: float | None
    gain_high: float | None


class Override(Part):
    """A promotion by hand, against the verdict: why, when (ISO 8601) and as which version."""

    why: str
    time: str
    version: str


class Verdict(Part):
    """Whether the candidate was promoted, and why; see `components.gate.verdict.Verdict`.

    Attributes:
      blessed: whether the outcome is `promote`.
      pushed: whether a model was pushed then.
      baseline_pushed: whether that was the baseline, in place of the candidate.
      fallback: why the baseline was, or was not.
      gain: in accuracy, -1 to 1.
      rule: what the gate asks, in words.
      reasons: the answers, in words, and what else stood in the way of a push.
      serving_check: how the exported model agrees with the evaluated one.
      paired: how the models' answers differ.
      outcome: `promote`, `keep_baseline`, `undecided` or `refuse`.
      sentence: the outcome in words.
      clauses: the questions and answers.
      power: what these images could have shown.
      groups: number of groups of test images that belong together, single images included.
      images: number of images that the choice was judged by.
      folds: number of folds, if it was judged by cross-fitting.
      earlier_candidates: number of other candidates that these test images judged before.
      references: linear probes beside the candidate.
      override: how the candidate was promoted all the same; None: it was not.
    """

    blessed: bool
    pushed: bool
    gain: float
    rule: str
    reasons: list[str]
    serving_check: Agreement
    paired: Paired | None = None
    outcome: str = ""
    sentence: str = ""
    clauses: list[Clause] = Field(default_factory=list)
    power: str = ""
    groups: int = 0
    images: int = 0
    folds: int = 0
    earlier_candidates: int = 0
    references: list[Reference] = Field(default_factory=list)
    baseline_pushed: bool = False
    fallback: str = ""
    override: Override | None = None

    @property
    def explanations(self) -> list[str]:
        """What stands below the sentence: the reasons, and what the images could have shown."""
        references = [one.sentence for one in self.references]
        others = [text for text in (self.power, self.fallback) if text]
        return [*self.reasons, *references, *others]
