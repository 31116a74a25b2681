"""A run in the forms that the user interfaces of pipeline services draw."""

import math
from collections.abc import Iterable

from pipeline.report.run_record import Metrics, RunRecord
from trainer.data.predictions import Row

# A confusion matrix is metadata of its artifact: more classes than this do not belong there.
MOST_CLASSES = 100


def metrics_metadata(record: RunRecord) -> dict[str, float]:
    """Metrics by name, as numbers that a service can plot and compare between runs.

    Accuracies are 0 to 1, losses in nats, `blessed` and `pushed` 0 or 1. What is not known is
    left out.
    """
    verdict, metrics = record.verdict, record.metrics
    values = {
        "baseline_accuracy": metrics.baseline.accuracy,
        "candidate_accuracy": metrics.candidate.accuracy,
        "baseline_loss": metrics.baseline.loss,
        "candidate_loss": metrics.candidate.loss,
        "gain": verdict.gain,
        "gain_p_value": verdict.paired.p_value if verdict.paired else None,
        "test_images": metrics.test_images,
        "blessed": verdict.blessed,
        "pushed": verdict.pushed,
    }
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }


def classification_metadata(record: RunRecord, rows: Iterable[Row]) -> dict[str, object]:
    """The candidate's confusion matrix, and its ROC curve where there are two classes.

    As `kfp.dsl.ClassificationMetrics` writes it, which Kubeflow Pipelines and Vertex AI read.

    Args:
      record: of the run.
      rows: one for each test image. For the ROC curve the class with label id 1 is the positive
        one; an image whose probability is not finite is left out.
    """
    from kfp import dsl

    drawn = dsl.ClassificationMetrics()
    classes = record.data.classes
    if len(classes) <= MOST_CLASSES:
        drawn.log_confusion_matrix(classes, record.metrics.candidate.confusion)
    if len(classes) == 2:
        curve = _roc_curve(rows, positive=classes[1])
        drawn.log_roc_curve(*curve)
    return dict(drawn.metadata)


def _roc_curve(rows: Iterable[Row], positive: str) -> tuple[list[float], list[float], list[float]]:
    """False positive rates, true positive rates and thresholds, of one length."""
    from sklearn import metrics

    truth, scores = [], []
    for row in rows:
        probability = row.candidate.probability
        if probability is not None:
            truth.append(row.label == positive)
            scores.append(probability if row.candidate.label_id == 1 else 1 - probability)
    if len(set(truth)) < 2:  # no rates of a class that has no images
        return [], [], []
    false_rates, true_rates, thresholds = metrics.roc_curve(truth, scores)
    # The first threshold, which no score reaches, is infinite: JSON has no such number.
    return false_rates.tolist(), true_rates.tolist(), [min(one, 1.0) for one in thresholds.tolist()]


def to_markdown(record: RunRecord) -> str:
    """The verdict, both models' metrics and the reasons, in Markdown."""
    verdict = record.verdict
    outcome = "The candidate was blessed" if verdict.blessed else "The candidate was not blessed"
    if record.model and verdict.pushed:
        joint = "; its baseline was" if verdict.baseline_pushed else " and"
        outcome += f"{joint} pushed as version {record.model.version} to `{record.model.path}`"
    refusals = record.exports.refusals if record.exports else []
    lines = [
        f"# {record.name}: {'blessed' if verdict.blessed else 'not blessed'}",
        f"{outcome}.",
        verdict.sentence,
        "\n".join(f"- {reason}" for reason in (*verdict.explanations, *refusals)),
        _table(record.metrics),
        f"{record.metrics.test_images} test images, {len(record.data.classes)} classes.",
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _table(metrics: Metrics) -> str:
    one, other = metrics.baseline, metrics.candidate
    rows = [
        ("accuracy", one.accuracy, other.accuracy),
        (f"top-{metrics.top_k} accuracy", one.top_k_accuracy, other.top_k_accuracy),
        ("loss", one.loss, other.loss),
    ]
    lines = ["| | baseline | candidate |", "| --- | --- | --- |"]
    lines += [f"| {name} | {_number(values[0])} | {_number(values[1])} |" for name, *values in rows]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
