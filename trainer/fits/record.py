"""What a fit leaves for people and for the report: `history.json` in the model's folder."""

import os
from dataclasses import dataclass

from trainer.records import Record
from trainer.remote_files import read_record, write_record

HISTORY_FILE = "history.json"


@dataclass(frozen=True)
class FitRecord(Record):
    """What one fit did. `history` holds one number an epoch, None where not finite.

    `best_epoch` counts from 1; its weights are the ones kept.
    """

    history: dict[str, list[float | None]]
    best_epoch: int
    stopped_early: bool
    seconds: float
    trainable_parameters: int
    frozen_parameters: int
    frozen_layers: int
    boundary: str | None = None


def write_fit(record: FitRecord, folder: str) -> None:
    """Writes the record into a folder, which is made if it is missing."""
    import tensorflow as tf

    tf.io.gfile.makedirs(folder)
    write_record(record, os.path.join(folder, HISTORY_FILE), indent=2)


def read_fit(folder: str) -> FitRecord:
    """Reads what `write_fit` has written.

    Raises:
      ThawError: naming the keys that are unknown, missing or of another type.
    """
    path = os.path.join(folder, HISTORY_FILE)
    return read_record(FitRecord, path)
