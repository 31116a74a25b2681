"""What a search leaves for the report: `trials.json` beside TFX's own file of results.

TFX's file leaves out stages, epochs, seconds and trials that failed.
"""

import os
from dataclasses import dataclass

import tensorflow as tf

from trainer.records import Record
from trainer.remote_files import read_record, write_record
from trainer.tuning.hyperparameters import Values

TRIALS_FILE = "trials.json"


@dataclass(frozen=True)
class TrialRecord(Record):
    """One trial as it is reported. `objective` is None where it failed."""

    stage: str
    trial: str
    values: Values
    objective: float | None
    epochs: int
    seconds: float
    status: str


@dataclass(frozen=True)
class SearchRecord(Record):
    """A whole search.

    Attributes:
      algorithm: of the first stage: `hyperband` or `bayesian`.
      best: values of the best trial of each stage, together.
      trials: in the order they were started.
    """

    algorithm: str
    best: Values
    trials: tuple[TrialRecord, ...]


def write_trials(record: SearchRecord, folder: str) -> None:
    """Writes the record into a folder, which is made if it is missing."""
    tf.io.gfile.makedirs(folder)
    write_record(record, os.path.join(folder, TRIALS_FILE), indent=2)


def read_trials(folder: str) -> SearchRecord:
    """Reads what `write_trials` has written.

    Raises:
      ThawError: naming the keys that are unknown, missing or of another type.
    """
    path = os.path.join(folder, TRIALS_FILE)
    return read_record(SearchRecord, path)
