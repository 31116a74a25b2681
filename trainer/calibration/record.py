"""What is recorded of a model's calibration: an asset of the exported model."""

import os
from dataclasses import dataclass, field

from trainer.records import Record
from trainer.remote_files import read_record

CALIBRATION_FILE = "calibration.json"


@dataclass(frozen=True)
class Bin:
    """Images whose confidence is in one range.

    Attributes:
      count: number of them.
      confidence: mean probability of the first choice.
      accuracy: share of first choices that are correct.
    """

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration(Record):
    """What was fitted on the validation images.

    Attributes:
      temperature: logits divided by it give the calibrated probabilities.
      val_images: number of images that it was fitted on.
      rejected_share: at most this share of them counts as unknown.
      threshold: highest `unknown_score` of an image that counts as known.
      left_out: class name -> area under the ROC curve for recognising its images as foreign, where
        all that can be was fitted without it.
    """

    temperature: float
    val_images: int
    rejected_share: float
    threshold: float
    left_out: dict[str, float] = field(default_factory=dict)


def read_calibration(saved_model_dir: str) -> Calibration:
    """Reads the record of an exported model.

    Raises:
      ThawError: naming the keys that are unknown, missing or of another type.
    """
    return read_record(Calibration, os.path.join(saved_model_dir, "assets", CALIBRATION_FILE))
