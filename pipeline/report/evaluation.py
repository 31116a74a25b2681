"""Reads what the Evaluator wrote: metrics, the verdict, and a row for every image."""

import json
import math
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma

from components.evaluator.gate import ACCURACY, BASELINE, CANDIDATE, LOSS, TOP_K_ACCURACY
from components.evaluator.rows import ROWS_FOLDER

MODELS = (BASELINE, CANDIDATE)


def read_rows(evaluation_uri: str) -> Iterator[dict[str, Any]]:
    """Yields one row per image; see `components.evaluator.rows.rows_of_batch`."""
    for path in sorted(tf.io.gfile.glob(f"{evaluation_uri}/{ROWS_FOLDER}/*.jsonl")):
        with tf.io.gfile.GFile(path) as file:
            for line in file:
                yield json.loads(line)


def read_metrics(evaluation_uri: str, model: str) -> dict[str, Any]:
    """Reads the metrics of one model: overall, and accuracy and count for each class.

    Values that are not finite become None.
    """
    result = tfma.load_eval_result(evaluation_uri, model_name=model)
    overall: dict[str, Any] = {}
    per_class = {}
    for slice_key, outputs in result.slicing_metrics:
        values = {name: _value(value) for name, value in outputs[""][""].items()}
        if not slice_key:
            overall = {name: values[name] for name in (ACCURACY, TOP_K_ACCURACY, LOSS)}
            overall["count"] = _count(values)
        else:
            ((_, label),) = slice_key
            per_class[label] = {
                "accuracy": values[ACCURACY],
                "count": _count(values),
            }
    return {**overall, "per_class": dict(sorted(per_class.items()))}


def _count(values: dict[str, float | None]) -> int:
    return int(values["example_count"] or 0)


def _value(value: dict[str, Any]) -> float | None:
    number = value.get("doubleValue", math.nan)
    number = float(number)
    return number if math.isfinite(number) else None


def failed_thresholds(evaluation_uri: str) -> set[str]:
    """Names the thresholds that the candidate missed: `gain` (over the baseline), `accuracy`.

    Raises:
      RuntimeError: if a threshold could not be checked. TFMA reports that as a failure of
        the candidate, which it is not.
    """
    validation = tfma.load_validation_result(evaluation_uri)
    failures = [
        failure
        for of_slice in validation.metric_validations_per_slice
        for failure in of_slice.failures
    ]
    unchecked = [failure for failure in failures if failure.message]
    if unchecked or (not validation.validation_ok and not failures):
        raise RuntimeError(f"the gate could not be checked: {unchecked or validation}")
    return {"gain" if failure.metric_key.is_diff else ACCURACY for failure in failures}


def confusion(
    rows: list[dict[str, Any]], model: str, labels: list[str], classes: list[str]
) -> list[list[int]]:
    """Counts true classes (rows) against predicted ones (columns), in the order of `classes`.

    Args:
      rows: from `read_rows`.
      model: `baseline` or `candidate`.
      labels: class names by label id.
      classes: the same names in the order of the matrix.
    """
    index = {name: position for position, name in enumerate(classes)}
    counts = [[0] * len(classes) for _ in classes]
    for row in rows:
        counts[index[row["label"]]][index[labels[row[model]["label_id"]]]] += 1
    return counts
