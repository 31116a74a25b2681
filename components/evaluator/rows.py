"""Keeps a row for every test image: what each model said.

Metrics alone cannot tell which images changed sides between two models; these rows can,
and cost no second inference. Where the rows go is known to the executor only, and TFX
calls `extractors` by name: a context variable hands it over. It lives in this module
because TFX reloads the one that it calls.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma

from components.evaluator.gate import BASELINE, CANDIDATE
from trainer import keys, records
from trainer.records import Record

ROWS_FOLDER = "rows"


@dataclass(frozen=True)
class Choice(Record):
    """What a model said of an image.

    Attributes:
      label_id: its first choice.
      probability: of that; None where the model's output is not finite.
    """

    label_id: int
    probability: float | None


@dataclass(frozen=True)
class Row(Record):
    """What both models said of one test image.

    Attributes:
      id: SHA-256 of the image file, in hexadecimal.
      path: of the image file.
      label: the true class.
      baseline: first choice of the model after fit 1.
      candidate: first choice of the model after fit 2.
    """

    id: str
    path: str
    label: str
    baseline: Choice
    candidate: Choice

    def choice(self, model: str) -> Choice:
        """The first choice of `BASELINE` or of `CANDIDATE`."""
        return {BASELINE: self.baseline, CANDIDATE: self.candidate}[model]


_rows_dir: ContextVar[str | None] = ContextVar("rows_dir", default=None)


@contextmanager
def writing_rows_to(directory: str) -> Iterator[None]:
    """Sets where the rows of an evaluation that is built inside go."""
    token = _rows_dir.set(directory)
    try:
        yield
    finally:
        _rows_dir.reset(token)


def rows_dir() -> str | None:
    """Where the rows of the evaluation being built go; None outside `writing_rows_to`."""
    return _rows_dir.get()


class WriteRows(beam.PTransform):
    """Writes rows on the side and passes TFMA's batched extracts on as they came."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory

    def expand(self, extracts: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        _ = (
            extracts
            | "Rows" >> beam.FlatMap(rows_of_batch)
            | "Lines" >> beam.Map(records.dumps)
            | "Write"
            >> beam.io.WriteToText(os.path.join(self._directory, "row"), file_name_suffix=".jsonl")
        )
        return extracts


def read_rows(evaluation_uri: str) -> Iterator[Row]:
    """Yields one row per image of an evaluation.

    Raises:
      ThawError: if a line is not that of a row.
    """
    for path in sorted(tf.io.gfile.glob(f"{evaluation_uri}/{ROWS_FOLDER}/*.jsonl")):
        with tf.io.gfile.GFile(path) as file:
            for line in file:
                yield records.read(Row, line, path)


def rows_of_batch(extracts: tfma.types.Extracts) -> Iterator[Row]:
    """One row for each example of a batch of TFMA's extracts."""
    values = extracts[tfma.FEATURES_KEY]
    baseline, candidate = (
        np.asarray(extracts[tfma.PREDICTIONS_KEY][model]) for model in (BASELINE, CANDIDATE)
    )
    columns = [np.ravel(values[name]) for name in (keys.ID, keys.PATH, keys.LABEL)]
    for index, (identity, path, label) in enumerate(zip(*columns, strict=True)):
        yield Row(
            identity.decode(),
            path.decode(),
            label.decode(),
            _first_choice(baseline[index]),
            _first_choice(candidate[index]),
        )


def _first_choice(probabilities: np.ndarray) -> Choice:
    best = int(np.argmax(probabilities))
    probability = float(probabilities[best])
    return Choice(best, probability if np.isfinite(probability) else None)
