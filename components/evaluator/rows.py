"""Keeps every test image's predictions: what each model said.

Metrics alone cannot tell which images changed sides between two models; these rows can,
and cost no second inference. Where the rows go is known to the executor only, and TFX
calls `extractors` by name: a context variable hands it over. It lives in this module
because TFX reloads the one that it calls.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from trainer import keys
from trainer.data import predictions
from trainer.export import LOGITS, PROBABILITIES, UNKNOWN_SCORE

_FEATURES = (keys.ID, keys.PATH, keys.LABEL, keys.LABEL_ID, keys.GROUP, keys.WEIGHT)

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
            | "Write"
            >> beam.io.WriteToParquet(
                os.path.join(self._directory, "part"),
                predictions.SCHEMA,
                file_name_suffix=".parquet",
            )
        )
        return extracts


def rows_of_batch(extracts: tfma.types.Extracts) -> Iterator[dict[str, object]]:
    """One row of `predictions.SCHEMA` for each example of a batch of TFMA's extracts."""
    features = {name: np.ravel(extracts[tfma.FEATURES_KEY][name]) for name in _FEATURES}
    answers = extracts[tfma.PREDICTIONS_KEY]
    for index, identity in enumerate(features[keys.ID]):
        row: dict[str, object] = {
            "id": identity.decode(),
            "path": features[keys.PATH][index].decode(),
            "label": features[keys.LABEL][index].decode(),
            "label_id": int(features[keys.LABEL_ID][index]),
            "group": features[keys.GROUP][index].decode(),
            "weight": float(features[keys.WEIGHT][index]),
        }
        for model in predictions.MODELS:
            logits, probabilities = (
                np.asarray(answers[model][name][index]) for name in (LOGITS, PROBABILITIES)
            )
            score = float(answers[model][UNKNOWN_SCORE][index])
            row.update(predictions.columns_of(model, logits, probabilities, score))
        probes = answers[predictions.BASELINE]
        row.update(
            predictions.reference_columns(
                {
                    name: np.asarray(probes[name][index]) if name in probes else None
                    for name in predictions.REFERENCES
                }
            )
        )
        yield row
