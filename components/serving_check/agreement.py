"""How the exported model agrees with the evaluated one. Light to import."""

import os
from dataclasses import dataclass

from trainer.records import Record
from trainer.remote_files import read_record, write_record

RESULT_FILE = "serving_check.json"


@dataclass(frozen=True)
class Agreement(Record):
    """How far the two ways into a model agree.

    Attributes:
      num_images: how many test images were asked about.
      max_difference: the largest difference of a probability; None if only one of the
        two answers was a number.
      tolerance: what is let pass.
      agrees: whether it passes.
    """

    num_images: int
    max_difference: float | None
    tolerance: float
    agrees: bool


def write_agreement(agreement: Agreement, blessing_uri: str) -> None:
    """Writes the result beside a blessing, into a folder that is made if it is missing."""
    import tensorflow as tf

    # The local runner makes it; the one in a pod does not.
    tf.io.gfile.makedirs(blessing_uri)
    write_record(agreement, os.path.join(blessing_uri, RESULT_FILE))


def read_agreement(blessing_uri: str) -> Agreement:
    """Reads what `write_agreement` has written.

    Raises:
      ThawError: naming the keys that are unknown, missing or of another type.
    """
    path = os.path.join(blessing_uri, RESULT_FILE)
    return read_record(Agreement, path)
