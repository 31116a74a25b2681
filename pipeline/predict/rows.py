"""Predictions as lines of text: JSON Lines and CSV. Light to import."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.predict.formats import Format
from serving.batch_predict import Prediction
from trainer.data.labels import as_utf8
from trainer.records import to_json

COLUMNS = (
    "path",
    "class",
    "probability",
    "calibrated",
    "is_known",
    "unknown_score",
    "label",
    "error",
)
"""Of CSV. With all classes a column of probabilities follows for each, under the class's name."""


@dataclass(frozen=True)
class Lines:
    """Predictions as lines, without their ends.

    Attributes:
      header: comes first; empty: there is none.
      line: makes the line of a prediction. It may hold line breaks, in quotes.
    """

    header: str
    line: Callable[[Prediction], str]


def lines_of(kind: Format, class_names: Sequence[str] = ()) -> Lines:
    """The lines of a format.

    Args:
      kind: JSONL or CSV.
      class_names: for CSV: those that get a column each.
    """
    if kind is Format.CSV:
        names = tuple(class_names)
        return Lines(_csv_line([*COLUMNS, *names]), _CsvLine(names))
    return Lines("", json_line)


def json_line(prediction: Prediction) -> str:
    """A line of ASCII JSON with all fields."""
    return json.dumps(to_json(_readable(prediction)), allow_nan=False)


def short_json_line(prediction: Prediction) -> str:
    """A line of ASCII JSON with path, classes, error and is_known."""
    row = to_json(_readable(prediction))
    return json.dumps(
        {name: row[name] for name in ("path", "classes", "error", "is_known")}, allow_nan=False
    )


@dataclass(frozen=True)
class _CsvLine:
    """Makes lines of CSV; picklable, as a Beam worker needs it."""

    class_names: tuple[str, ...]

    def __call__(self, prediction: Prediction) -> str:
        row = _readable(prediction)
        name, probability = row.classes[0] if row.classes else ("", None)
        scores = dict(row.classes)
        return _csv_line(
            [
                row.path,
                name,
                probability,
                row.calibrated,
                "" if row.is_known is None else str(row.is_known).lower(),
                row.unknown_score,
                row.label,
                row.error,
                *(scores.get(one) for one in self.class_names),
            ]
        )


def _csv_line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().removesuffix("\r\n")


def _readable(prediction: Prediction) -> Prediction:
    """The prediction with bytes that are not UTF-8 escaped, as Python escapes them."""
    return replace(
        prediction,
        path=as_utf8(prediction.path),
        label=as_utf8(prediction.label),
        error=as_utf8(prediction.error),
    )
