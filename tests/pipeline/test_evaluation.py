"""Which class was predicted as which, and by which weight."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.evaluation import confusion, weighted_accuracy
from trainer.data.predictions import Choice, Row

LABELS = ["cow", "ant", "bee"]  # by label id
CLASSES = ["ant", "bee", "cow"]


def row(label: str, baseline: str, candidate: str) -> Row:
    baseline_id, candidate_id = LABELS.index(baseline), LABELS.index(candidate)
    return Row("id", "path", label, Choice(baseline_id, 0.5), Choice(candidate_id, 0.5))


def test_confusion_has_true_classes_in_rows_and_first_choices_in_columns():
    rows = [row("ant", "ant", "bee"), row("ant", "cow", "bee"), row("cow", "cow", "ant")]

    assert confusion(rows, "candidate", LABELS, CLASSES) == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]
    assert confusion(rows, "baseline", LABELS, CLASSES) == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


def test_accuracy_by_weights_counts_each_image_by_its_own():
    rows = [replace(row("ant", "bee", "ant"), weight=3.0), row("ant", "ant", "bee")]

    assert weighted_accuracy(rows, "candidate", LABELS) == 0.75
    assert weighted_accuracy(rows[1:], "candidate", LABELS) is None


@given(pairs=st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS))))
def test_confusion_counts_every_image_once_and_right_ones_on_the_diagonal(pairs):
    rows = [row(label, label, choice) for label, choice in pairs]

    counts = np.array(confusion(rows, "candidate", LABELS, CLASSES))

    assert counts.sum() == len(pairs)
    assert np.trace(counts) == sum(label == choice for label, choice in pairs)
    assert list(counts.sum(axis=1)) == [
        sum(label == name for label, _ in pairs) for name in CLASSES
    ]
