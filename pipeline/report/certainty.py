"""How sure both models are, from their predictions of the test images."""

from collections.abc import Mapping, Sequence

import numpy as np

from components.gate.measure import pairs_of
from components.gate.statistics import gain_interval
from pipeline.report.certainty_record import (
    Certainty,
    ClassChange,
    Coverage,
    DoubtfulLabel,
    ModelCertainty,
    Unknown,
)
from trainer.calibration.record import Calibration
from trainer.calibration.temperature import calibration_error, confidences, reliability
from trainer.data.predictions import BASELINE, CANDIDATE, Predictions

_MOST_POINTS = 100
_MOST_DOUBTFUL = 12
_SURE = 0.8


def describe_certainty(
    predictions: Predictions, calibrations: Mapping[str, Calibration]
) -> Certainty:
    """Measures calibration and abstention on the test images.

    Args:
      predictions: of all test images.
      calibrations: model -> what was fitted on validation.
    """
    baseline, candidate = (
        _of_model(predictions, model, calibrations[model].temperature)
        for model in (BASELINE, CANDIDATE)
    )
    return Certainty(
        baseline=baseline,
        candidate=candidate,
        unknown=_unknown(predictions, calibrations[CANDIDATE]),
    )


def _of_model(predictions: Predictions, model: str, temperature: float) -> ModelCertainty:
    logits, right = predictions.answers[model].logits, predictions.right(model)
    plain, calibrated = confidences(logits), confidences(logits, temperature)
    return ModelCertainty(
        temperature=temperature,
        error_before=calibration_error(plain, right),
        error_after=calibration_error(calibrated, right),
        before=reliability(plain, right),
        after=reliability(calibrated, right),
        coverage=_coverage(calibrated, right),
    )


def _coverage(confidence: np.ndarray, right: np.ndarray) -> list[Coverage]:
    finite = np.isfinite(confidence)
    order = np.argsort(-confidence[finite], kind="stable")
    total = len(order)
    if not total:
        return []
    correct = np.cumsum(right[finite][order])
    counts = np.unique(np.linspace(1, total, min(total, _MOST_POINTS)).astype(int))
    return [
        Coverage(share=float(count / len(right)), accuracy=float(correct[count - 1] / count))
        for count in counts
    ]


def _unknown(predictions: Predictions, calibration: Calibration) -> Unknown:
    known = predictions.answers[CANDIDATE].unknown_scores <= calibration.threshold
    right = predictions.right(CANDIDATE)
    return Unknown(
        rejected_share=calibration.rejected_share,
        test_share=float(np.mean(~known)),
        accuracy_known=_mean(right[known]),
        accuracy_unknown=_mean(right[~known]),
        left_out=calibration.left_out,
    )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def class_changes(predictions: Predictions) -> list[ClassChange]:
    """How each class's recall changed, by class name; see `statistics.gain_interval`."""
    pairs = pairs_of(predictions)
    labels = np.array(predictions.labels)
    changes = []
    for label in sorted(set(predictions.labels)):
        one = pairs.of(labels == label)
        low, high = gain_interval(one)
        changes.append(
            ClassChange(
                label=label,
                count=len(one.groups),
                before=float(one.baseline.mean()),
                after=float(one.candidate.mean()),
                low=low,
                high=high,
            )
        )
    return changes


def doubtful_labels(
    predictions: Predictions, labels: Sequence[str], temperature: float
) -> list[DoubtfulLabel]:
    """Test images whose label both models contradict with one voice, the surest first.

    Args:
      predictions: of all test images.
      labels: class names by label id.
      temperature: of the candidate.
    """
    choices = predictions.answers[CANDIDATE].choices
    confidence = confidences(predictions.answers[CANDIDATE].logits, temperature)
    agreed = choices == predictions.answers[BASELINE].choices
    with np.errstate(invalid="ignore"):
        rows = np.nonzero(agreed & ~predictions.right(CANDIDATE) & (confidence >= _SURE))[0]
    return [
        DoubtfulLabel(
            path=predictions.paths[row],
            label=predictions.labels[row],
            predicted=labels[choices[row]],
            probability=float(confidence[row]),
        )
        for row in sorted(rows, key=lambda row: -confidence[row])[:_MOST_DOUBTFUL]
    ]
