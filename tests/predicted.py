"""Predictions made up for tests, in the Evaluator's own file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from trainer.data import predictions
from trainer.data.predictions import BASELINE, CANDIDATE, Predictions, Row, read_predictions


def write_predictions(
    evaluation: Path,
    rows: Sequence[Row],
    labels: Sequence[str],
    groups: Sequence[str] = (),
    references: Mapping[str, Sequence[int]] | None = None,
    scale: float = 1.0,
    folds: Sequence[int] = (),
) -> None:
    """Writes what `read_predictions` reads.

    Args:
      evaluation: folder of the evaluation.
      rows: what both models said.
      labels: class names by label id.
      groups: of the rows; by default none belong together.
      references: name of a linear probe -> its choices; by default there are none.
      scale: logit of a model's choice; all others are 0.
      folds: of the rows, if they are cross-fitted; each was trained on twice its images.
    """
    folder = evaluation / predictions.FOLDER
    folder.mkdir(parents=True)
    names = groups or [""] * len(rows)
    lines = []
    for row, group in zip(rows, names, strict=True):
        line = {"id": row.id, "path": row.path, "label": row.label, "group": group}
        line |= {"label_id": labels.index(row.label), "weight": row.weight}
        for model in (BASELINE, CANDIDATE):
            chosen = np.eye(len(labels), dtype=np.float32)[row.choice(model).label_id]
            line |= predictions.columns_of(model, chosen * scale, chosen, 0.0)
        for name, choices in (references or {}).items():
            line |= {f"{name}_label_id": choices[len(lines)]}
        if folds:
            fold = folds[len(lines)]
            line |= predictions.fold_columns(fold, 2 * list(folds).count(fold))
        lines.append(line)
    parquet.write_table(pa.Table.from_pylist(lines, predictions.SCHEMA), folder / "part.parquet")


def predictions_of(
    evaluation: Path, rows: Sequence[Row], labels: Sequence[str], *args: Any, **kwargs: Any
) -> Predictions:
    """What `write_predictions` writes of the same arguments, read back."""
    write_predictions(evaluation, rows, labels, *args, **kwargs)
    return read_predictions(str(evaluation))
