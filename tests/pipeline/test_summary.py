"""What a run looks like in the user interface of a pipeline service."""

import pytest

from pipeline.report.run_record import RunRecord
from pipeline.report.summary import classification_metadata, metrics_metadata, to_markdown
from trainer.data.predictions import Choice, Row

from .hand_made import EXPORT_REASON, RUN


@pytest.fixture
def record() -> RunRecord:
    return RunRecord.model_validate(RUN)


def row(number: int, label: str, predicted: int, probability: float | None) -> Row:
    choice = Choice(predicted, probability)
    return Row(str(number), f"{number}.jpg", label, choice, choice)


def test_metrics_are_numbers_that_a_service_can_plot(record):
    values = metrics_metadata(record)

    assert all(type(value) is float for value in values.values())
    assert values["candidate_accuracy"] == record.metrics.candidate.accuracy
    assert values["gain"] == record.verdict.gain
    assert values["blessed"] in (0.0, 1.0)


def test_what_is_not_known_is_left_out(record):
    model = record.metrics.candidate.model_copy(update={"loss": None})
    metrics = record.metrics.model_copy(update={"candidate": model})

    values = metrics_metadata(record.model_copy(update={"metrics": metrics}))

    assert "candidate_loss" not in values
    assert "baseline_loss" in values


def test_confusion_matrix_is_in_the_order_of_the_classes(record):
    drawn = classification_metadata(record, [])["confusionMatrix"]

    assert [one["displayName"] for one in drawn["annotationSpecs"]] == record.data.classes
    assert [one["row"] for one in drawn["rows"]] == record.metrics.candidate.confusion


def test_two_classes_have_an_roc_curve(record):
    """Of four images, one of each class is on the wrong side of a threshold of 0.6."""
    assert record.data.classes == ["ant", "bee"]
    rows = [
        row(1, "bee", 1, 0.9),
        row(2, "bee", 0, 0.6),  # 0.4 for bee
        row(3, "ant", 1, 0.7),
        row(4, "ant", 0, 0.8),  # 0.2
        row(5, "ant", 0, None),
    ]

    curve = classification_metadata(record, rows)["confidenceMetrics"]

    points = [
        (one["confidenceThreshold"], one["falsePositiveRate"], one["recall"]) for one in curve
    ]
    assert points == [
        (1.0, 0.0, 0.0),
        (0.9, 0.0, 0.5),
        (0.7, 0.5, 0.5),
        (pytest.approx(0.4), 0.5, 1.0),
        (pytest.approx(0.2), 1.0, 1.0),
    ]


def test_more_classes_have_none_and_too_many_no_matrix(record):
    classes = [f"class {number:03}" for number in range(101)]
    data = record.data.model_copy(update={"classes": classes})

    assert classification_metadata(record.model_copy(update={"data": data}), []) == {}


def test_summary_says_the_verdict_the_reasons_and_both_models(record):
    text = to_markdown(record)

    assert text.startswith(f"# {record.name}: ")
    assert all(f"- {reason}" in text for reason in record.verdict.reasons)
    assert f"- The export onnx was not pushed. {EXPORT_REASON}" in text
    assert "| accuracy | " in text
    assert f"{record.metrics.candidate.accuracy:.3f}" in text
