"""What the gate decides, in the words that report, command line and model card repeat."""

import os
from dataclasses import dataclass, field
from typing import Literal

from trainer.records import Record
from trainer.remote_files import read_record, write_record

VERDICT_FILE = "verdict.json"

Outcome = Literal["promote", "keep_baseline", "undecided", "refuse"]
ClauseName = Literal["choice", "promotion", "floor", "harm", "calibration"]


@dataclass(frozen=True)
class Clause(Record):
    """One question of the gate, and its answer.

    Attributes:
      name: `choice`: is the candidate better than the baseline; `promotion`: is it no worse than
        the model that is served now; `floor`: is it good enough; `harm`: has no class become worse;
        `calibration`: do its probabilities mean what they say.
      passed: the answer.
      sentence: the same in words.
      estimate: gain in accuracy, accuracy, largest loss of a class's recall, or expected
        calibration error, -1 to 1.
      low: lower end of the estimate's interval; None where there is none.
      high: upper end.
      p_value: of the test; None where there is none.
      threshold: what the estimate is compared with.
    """

    name: ClauseName
    passed: bool
    sentence: str
    estimate: float
    low: float | None
    high: float | None
    p_value: float | None
    threshold: float


@dataclass(frozen=True)
class Reference(Record):
    """A linear probe beside the candidate. It decides nothing.

    Attributes:
      name: `reference_boundary` or `reference_top`: where the features were pooled.
      accuracy: on the test images, 0 to 1.
      gain: over the candidate, -1 to 1.
      low: lower end of the gain's 95 % interval.
      high: upper end.
      p_value: one-sided, of the gain.
      better: whether it is beyond chance.
      sentence: the same in words, with what to try if it is better.
    """

    name: str
    accuracy: float
    gain: float
    low: float
    high: float
    p_value: float
    better: bool
    sentence: str


@dataclass(frozen=True)
class Verdict(Record):
    """What becomes of a candidate.

    Attributes:
      outcome: only `promote` blesses it.
      sentence: the outcome in words, with the numbers that matter.
      clauses: the questions, in their order.
      power: what these images could have shown, and how many would show more.
      images: number of images that the choice was judged by.
      groups: number of groups among them; as many as images if none belong together.
      candidate_only: number of images that only the candidate classified correctly.
      baseline_only: number of images that only the baseline did.
      served_version: of the model that the candidate would replace; empty: it was compared with
        none.
      earlier_candidates: number of other candidates that were judged by these images before.
      reuse: what that means; empty if it means nothing.
      references: linear probes beside the candidate.
      push_baseline: whether the baseline is pushed in place of a candidate that is not promoted.
      fallback: why it is, or why not; empty if the rule does not ask for it.
      folds: number of folds of the cross-fitted evidence; 0: the test images are the evidence.
    """

    outcome: Outcome
    sentence: str
    clauses: list[Clause]
    power: str
    images: int
    groups: int
    candidate_only: int
    baseline_only: int
    served_version: str = ""
    earlier_candidates: int = 0
    reuse: str = ""
    references: list[Reference] = field(default_factory=list)
    push_baseline: bool = False
    fallback: str = ""
    folds: int = 0

    @property
    def promotes(self) -> bool:
        """Whether the candidate is blessed."""
        return self.outcome == "promote"

    @property
    def choice(self) -> Clause:
        """The first question, which is always asked."""
        return next(one for one in self.clauses if one.name == "choice")


def write_verdict(verdict: Verdict, blessing_uri: str) -> None:
    """Writes the verdict into the folder of a blessing, which exists."""
    write_record(verdict, os.path.join(blessing_uri, VERDICT_FILE), indent=2)


def read_verdict(blessing_uri: str) -> Verdict:
    """Reads what `write_verdict` has written.

    Raises:
      ThawError: naming the keys that are unknown, missing or of another type.
    """
    return read_record(Verdict, os.path.join(blessing_uri, VERDICT_FILE))
