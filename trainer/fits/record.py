"""What a fit leaves for people and for the report: `history.json` in the model's folder."""

import os
from dataclasses import dataclass

from trainer.records import Record
from trainer.remote_files import read_record, write_record

HISTORY_FILE = "history.json"


@dataclass(frozen=True)
class Solved(Record):
    """How L-BFGS solved a head.

    Attributes:
      strength: the one that validation chose: scikit-learn's C, the inverse of the penalty.
      start_strength: that of the head that fit 2 starts from, the same or a smaller one.
      val_losses: strength, as text -> cross-entropy on validation.
    """

    strength: float
    start_strength: float
    val_losses: dict[str, float]


@dataclass(frozen=True)
class Mixing(Record):
    """How the weights from before and after a fit were mixed.

    Attributes:
      shares: of the weights from after the fit, 0 to 1, that were tried.
      val_losses: on validation, one for each share; None where not finite.
      chosen: the share with the lowest loss. 0: the weights are those from before the fit.
    """

    shares: tuple[float, ...]
    val_losses: tuple[float | None, ...]
    chosen: float

    @property
    def lowest_loss(self) -> float | None:
        """That of the chosen share."""
        return self.val_losses[self.shares.index(self.chosen)]


@dataclass(frozen=True)
class FitRecord(Record):
    """What one fit did. `history` holds one number an epoch, None where not finite.

    `best_epoch` counts from 1; its weights are the ones kept. `solved` is set if the fit took no
    epochs: the history then has one entry. `mixing` is set if the weights kept are a mixture of
    those of `best_epoch` and those from before the fit.
    """

    history: dict[str, list[float | None]]
    best_epoch: int
    stopped_early: bool
    seconds: float
    trainable_parameters: int
    frozen_parameters: int
    frozen_layers: int
    boundary: str | None = None
    solved: Solved | None = None
    mixing: Mixing | None = None


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
