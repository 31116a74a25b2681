"""The verdict in words, what failed, and which class was predicted as which."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_model_analysis.proto import validation_result_pb2

from components.evaluator.rows import Choice, Row
from pipeline.config.schema import Config
from pipeline.report.collect import reasons
from pipeline.report.evaluation import confusion, failed_thresholds
from trainer.errors import ThawError

LABELS = ["cow", "ant", "bee"]  # by label id
CLASSES = ["ant", "bee", "cow"]


def config(**gate: float) -> Config:
    return Config.model_validate({"gate": gate})


def row(label: str, baseline: str, candidate: str) -> Row:
    baseline_id, candidate_id = LABELS.index(baseline), LABELS.index(candidate)
    return Row("id", "path", label, Choice(baseline_id, 0.5), Choice(candidate_id, 0.5))


def test_gain_is_told_in_points():
    assert reasons(set(), 0.5, 0.75, config()) == [
        "Test accuracy went from 50.0% to 75.0%, +25.0 points; "
        "the gate requires a gain of more than 0.0 points."
    ]


def test_gain_too_small_is_told_with_what_was_asked_for():
    assert reasons({"gain"}, 0.8, 0.79, config(min_gain=0.02)) == [
        "Test accuracy went from 80.0% to 79.0%, -1.0 points, but "
        "the gate requires a gain of more than 2.0 points."
    ]


@pytest.mark.parametrize(("failed", "verb"), [({"accuracy"}, "misses"), (set(), "reaches")])
def test_accuracy_that_was_asked_for_is_told_where_there_is_a_minimum(failed, verb):
    _, sentence = reasons(failed, 0.5, 0.75, config(min_accuracy=0.9))

    assert sentence == f"Test accuracy 75.0% {verb} the required 90.0%."


def test_confusion_has_true_classes_in_rows_and_first_choices_in_columns():
    rows = [row("ant", "ant", "bee"), row("ant", "cow", "bee"), row("cow", "cow", "ant")]

    assert confusion(rows, "candidate", LABELS, CLASSES) == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]
    assert confusion(rows, "baseline", LABELS, CLASSES) == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


@given(pairs=st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS))))
def test_confusion_counts_every_image_once_and_right_ones_on_the_diagonal(pairs):
    rows = [row(label, label, choice) for label, choice in pairs]

    counts = np.array(confusion(rows, "candidate", LABELS, CLASSES))

    assert counts.sum() == len(pairs)
    assert np.trace(counts) == sum(label == choice for label, choice in pairs)
    assert list(counts.sum(axis=1)) == [
        sum(label == name for label, _ in pairs) for name in CLASSES
    ]


@pytest.fixture
def evaluation(tmp_path):
    """An evaluation's folder that holds a verdict of TFMA's."""

    def write(validation: validation_result_pb2.ValidationResult) -> str:
        with tf.io.TFRecordWriter(str(tmp_path / "validations-00000-of-00001.tfrecord")) as writer:
            writer.write(validation.SerializeToString())
        return str(tmp_path)

    return write


def test_threshold_that_could_not_be_checked_is_no_failure_of_the_candidate(evaluation):
    validation = validation_result_pb2.ValidationResult(validation_ok=False)
    failure = validation.metric_validations_per_slice.add().failures.add()
    failure.metric_key.name = "accuracy"
    failure.message = "Metric not found."

    with pytest.raises(ThawError, match=r"(?s)the gate could not be checked.*Metric not found"):
        failed_thresholds(evaluation(validation))


def test_refusal_without_a_reason_is_no_verdict(evaluation):
    validation = validation_result_pb2.ValidationResult(validation_ok=False)

    with pytest.raises(ThawError, match="the gate could not be checked"):
        failed_thresholds(evaluation(validation))
