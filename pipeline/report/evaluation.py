"""Reads what the Evaluator wrote of the models: metrics, and what was taken for what."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import tensorflow_model_analysis as tfma

from components.evaluator.metrics import ACCURACY, LOSS, TOP_K_ACCURACY
from pipeline.report.run_record import ClassMetrics, Measures
from trainer.data.predictions import Row
from trainer.errors import ThawError

_Outputs = Mapping[str, Mapping[str, float]]
"""What TFMA measured of one slice: metric -> kind of value, such as `doubleValue` -> value."""


def read_metrics(evaluation_uri: str, model: str) -> Measures:
    """Reads the metrics of one model: overall, and accuracy and count for each class.

    The accuracy on the images of one class is the recall of that class. Their mean, in which
    every class counts alike, is `macro_recall`.

    Losses and top-k accuracies that are not finite become None.

    Raises:
      ThawError: if an accuracy is not finite.
    """
    result = tfma.load_eval_result(evaluation_uri, model_name=model)
    found = {key: outputs[""][""] for key, outputs in result.slicing_metrics}
    overall = found.pop(())
    per_class = {label: _of_class(outputs) for ((_, label),), outputs in found.items()}
    return Measures(
        accuracy=_accuracy(overall),
        macro_recall=fmean(found.accuracy for found in per_class.values()),
        top_k_accuracy=_value(overall[TOP_K_ACCURACY]),
        loss=_value(overall[LOSS]),
        count=_count(overall),
        per_class=dict(sorted(per_class.items())),
    )


def _of_class(outputs: _Outputs) -> ClassMetrics:
    return ClassMetrics(accuracy=_accuracy(outputs), count=_count(outputs))


def _accuracy(outputs: _Outputs) -> float:
    accuracy = _value(outputs[ACCURACY])
    if accuracy is None:
        raise ThawError(
            "the Evaluator has found an accuracy that is not a number.",
            to_do="Look at the Evaluator's log.",
        )
    return accuracy


def _count(outputs: _Outputs) -> int:
    return int(_value(outputs["example_count"]) or 0)


def _value(value: Mapping[str, float]) -> float | None:
    number = float(value.get("doubleValue", math.nan))
    return number if math.isfinite(number) else None


def weighted_accuracy(rows: Sequence[Row], model: str, labels: Sequence[str]) -> float | None:
    """The share of what a model gets right, each image counted by its weight.

    Args:
      rows: one per image.
      model: `baseline` or `candidate`.
      labels: class names by label id.

    Returns:
      0 to 1; None if all images count alike.
    """
    if all(row.weight == 1.0 for row in rows):
        return None
    right = sum(row.weight for row in rows if labels[row.choice(model).label_id] == row.label)
    return right / sum(row.weight for row in rows)


def confusion(
    rows: Iterable[Row], model: str, labels: Sequence[str], classes: Sequence[str]
) -> list[list[int]]:
    """Counts true classes (rows) against predicted ones (columns), in the order of `classes`.

    Args:
      rows: one per image.
      model: `baseline` or `candidate`.
      labels: class names by label id.
      classes: the same names in the order of the matrix.
    """
    index = {name: position for position, name in enumerate(classes)}
    counts = [[0] * len(classes) for _ in classes]
    for row in rows:
        counts[index[row.label]][index[labels[row.choice(model).label_id]]] += 1
    return counts
