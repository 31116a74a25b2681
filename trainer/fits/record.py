"""What a fit leaves for people and for the report: `history.json` in the model's folder."""

import os
from dataclasses import dataclass

import tensorflow as tf

from trainer import records
from trainer.records import Record

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
    tf.io.gfile.makedirs(folder)
    with tf.io.gfile.GFile(os.path.join(folder, HISTORY_FILE), "w") as file:
        file.write(records.dumps(record, indent=2))


def read_fit(folder: str) -> FitRecord:
    """Reads what `write_fit` has written.

    Raises:
      ThawError: naming the keys that are unknown, missing or of another type.
    """
    path = os.path.join(folder, HISTORY_FILE)
    with tf.io.gfile.GFile(path) as file:
        return records.read(FitRecord, file.read(), path)
