"""Keeps a row for every test image: what each model said.

Metrics alone cannot tell which images changed sides between two models; these rows can,
and cost no second inference. Where the rows go is known to the executor only, and TFX
calls `extractors` by name: a context variable hands it over. It lives in this module
because TFX reloads the one that it calls.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from components.evaluator.gate import BASELINE, CANDIDATE
from trainer import keys

ROWS_FOLDER = "rows"

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
            | "Lines" >> beam.Map(json.dumps)
            | "Write"
            >> beam.io.WriteToText(os.path.join(self._directory, "row"), file_name_suffix=".jsonl")
        )
        return extracts


def rows_of_batch(extracts: tfma.types.Extracts) -> Iterator[dict[str, Any]]:
    """One row for each example of a batch of TFMA's extracts.

    A row holds `id`, `path`, `label` and, for each model, `label_id` and `probability`
    of its first choice (None where the model's output is not finite).
    """
    values = extracts[tfma.FEATURES_KEY]
    choices = {
        model: np.asarray(extracts[tfma.PREDICTIONS_KEY][model]) for model in (BASELINE, CANDIDATE)
    }
    columns = [np.ravel(values[name]) for name in (keys.ID, keys.PATH, keys.LABEL)]
    for index, (identity, path, label) in enumerate(zip(*columns, strict=True)):
        yield {
            "id": identity.decode(),
            "path": path.decode(),
            "label": label.decode(),
            **{model: _first_choice(scores[index]) for model, scores in choices.items()},
        }


def _first_choice(probabilities: np.ndarray) -> dict[str, Any]:
    best = int(np.argmax(probabilities))
    probability = float(probabilities[best])
    return {"label_id": best, "probability": probability if np.isfinite(probability) else None}
