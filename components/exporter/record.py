"""What is known of a model's exports. Light to import."""

import os
from dataclasses import dataclass

from trainer.records import Record
from trainer.remote_files import read_record

RESULT_FILE = "exports.json"


@dataclass(frozen=True)
class Answers(Record):
    """How one model file answers the test images.

    Attributes:
      num_bytes: size of the file, or of all files of the SavedModel.
      accuracy: on the test images, 0 to 1.
      milliseconds: for one image at a time, the median; from pixels of the model's size.
    """

    num_bytes: int
    accuracy: float
    milliseconds: float


@dataclass(frozen=True)
class Export(Record):
    """One export, compared with the SavedModel on every test image.

    Attributes:
      format: key of `components.exporter.formats.FORMATS`.
      file: its name.
      answers: what was measured.
      differing: number of images with another first choice.
      ties: how many of them the SavedModel itself cannot tell apart in this format.
      max_difference: of a probability; None where one of the two is not a number.
      agrees: whether it was pushed.
      reason: otherwise, why not, as a sentence.
    """

    format: str
    file: str
    answers: Answers
    differing: int
    ties: int
    max_difference: float | None
    agrees: bool
    reason: str = ""


@dataclass(frozen=True)
class Exports(Record):
    """All exports of a model.

    Attributes:
      num_images: number of test images.
      threads: that each of them ran with.
      saved_model: what the others are compared with.
      exports: in the order of the config.
      path: folder that holds those that agree; empty: none does.
    """

    num_images: int
    threads: int
    saved_model: Answers
    exports: tuple[Export, ...]
    path: str = ""

    @property
    def refusals(self) -> list[str]:
        """Why exports were not pushed, a sentence each."""
        return [
            f"The export {one.format} was not pushed. {one.reason}"
            for one in self.exports
            if not one.agrees
        ]


def read_exports(uri: str) -> Exports | None:
    """Reads what Exporter has written; None where no model was pushed.

    Raises:
      ThawError: naming the keys that are unknown, missing or of another type.
    """
    import tensorflow as tf

    path = os.path.join(uri, RESULT_FILE)
    return read_record(Exports, path) if tf.io.gfile.exists(path) else None
