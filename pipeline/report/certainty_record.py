"""How sure the models are, as `run.json` holds it."""

from pydantic import Field

from pipeline.report.part import Part
from trainer.calibration.record import Bin


class Coverage(Part):
    """If only the surest share of the images is answered, so many answers are right; 0 to 1."""

    share: float
    accuracy: float


class ModelCertainty(Part):
    """How well one model's probabilities fit its accuracy, on the test images.

    Attributes:
      temperature: that was fitted on validation.
      error_before: expected calibration error of the probabilities, 0 to 1; None where they are
        not finite.
      error_after: of the calibrated probabilities.
      before: reliability of the probabilities.
      after: of the calibrated ones.
      coverage: by falling confidence, calibrated.
    """

    temperature: float
    error_before: float | None
    error_after: float | None
    before: list[Bin]
    after: list[Bin]
    coverage: list[Coverage]


class Unknown(Part):
    """What the candidate marks as not known.

    Attributes:
      rejected_share: of the validation images, at most; asked for.
      test_share: of the test images, 0 to 1.
      accuracy_known: on the test images that are marked as known; None: there are none.
      accuracy_unknown: on the others.
      left_out: class -> area under the ROC curve for recognising it as foreign where it was left
        out; see `trainer.calibration.left_out`.
    """

    rejected_share: float
    test_share: float
    accuracy_known: float | None
    accuracy_unknown: float | None
    left_out: dict[str, float] = Field(default_factory=dict)


class Certainty(Part):
    """How sure both models are, and what the candidate does not know."""

    baseline: ModelCertainty
    candidate: ModelCertainty
    unknown: Unknown


class ClassChange(Part):
    """How the recall of one class changed.

    Attributes:
      label: the class.
      count: number of test images.
      before: the baseline's recall, 0 to 1.
      after: the candidate's.
      low: lower end of a 95 % interval of the change, -1 to 1.
      high: upper end.
    """

    label: str
    count: int
    before: float
    after: float
    low: float
    high: float


class DoubtfulLabel(Part):
    """A test image that both models surely take for another class than its label says.

    `probability` is the candidate's, calibrated; `thumbnail` is relative to the output folder, and
    empty if the image could not be read.
    """

    path: str
    label: str
    predicted: str
    probability: float
    thumbnail: str = ""
