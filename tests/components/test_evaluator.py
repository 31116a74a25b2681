"""Real evaluations of tiny models: blessing, metrics, a row for every image."""

import numpy as np
import pytest
import tensorflow_model_analysis as tfma

from components.evaluator.executor import Executor, MissingBaseline
from components.evaluator.gate import BASELINE, CANDIDATE, GateRule
from components.evaluator.rows import (
    Choice,
    Row,
    read_rows,
    rows_dir,
    rows_of_batch,
    writing_rows_to,
)
from pipeline.report.evaluation import failed_thresholds, read_metrics
from trainer import keys

from .evaluations import LABELS, judge

pytestmark = pytest.mark.slow

ANY_GAIN = GateRule(min_gain=0.0, min_accuracy=None, top_k=2)


@pytest.fixture(scope="module")
def better(tmp_path_factory):
    """10 images, of which the baseline gets 8 right and the candidate 9; three of four ants."""
    rule = GateRule(min_gain=0.05, min_accuracy=0.85, top_k=2)
    return judge(tmp_path_factory.mktemp("better"), rule, 10, baseline_right=8, candidate_right=9)


def test_one_image_better_is_blessed_though_one_class_is_below_min_accuracy(better):
    assert better.blessed
    assert failed_thresholds(better.uri) == set()
    assert read_metrics(better.uri, CANDIDATE).per_class["ant"].accuracy < 0.85


def test_equally_good_is_not_blessed(tmp_path):
    judged = judge(tmp_path, ANY_GAIN, 10, baseline_right=9, candidate_right=9)

    assert not judged.blessed
    assert failed_thresholds(judged.uri) == {"gain"}


def test_gain_below_the_one_asked_for_and_accuracy_too_low_are_both_told(tmp_path):
    rule = GateRule(min_gain=0.15, min_accuracy=0.95, top_k=2)

    judged = judge(tmp_path, rule, 10, baseline_right=8, candidate_right=9)

    assert not judged.blessed
    assert failed_thresholds(judged.uri) == {"gain", "accuracy"}


@pytest.mark.parametrize(
    ("images", "baseline", "candidate", "rule", "blessed"),
    [
        (10, 8, 9, GateRule(0.0, 0.9, 2), True),
        (100, 59, 60, GateRule(0.01, None, 2), False),
    ],
)
def test_limit_itself_reaches_min_accuracy_and_is_no_gain(
    tmp_path, images, baseline, candidate, rule, blessed
):
    assert judge(tmp_path, rule, images, baseline, candidate).blessed == blessed


@pytest.mark.parametrize("inputs", [{}, {"baseline_model": []}])
def test_without_a_baseline_nothing_is_judged(inputs):
    with pytest.raises(MissingBaseline, match=r"(?s)no baseline model.*Run HeadTrainer first"):
        Executor().Do({"examples": [], "model": [], **inputs}, {}, {})


def test_metrics_are_those_of_each_model(better):
    baseline, candidate = (read_metrics(better.uri, model) for model in (BASELINE, CANDIDATE))

    # Right answers get 0.75, wrong ones leave 0.125 to the true class.
    losses = -np.log([0.75] * 9 + [0.125])
    assert candidate.accuracy == pytest.approx(0.9, abs=1e-6)
    assert candidate.loss == pytest.approx(losses.mean(), abs=1e-5)
    assert candidate.count == 10
    assert baseline.accuracy == pytest.approx(0.8, abs=1e-6)


def test_metrics_of_each_class_are_told_in_order(better):
    found = read_metrics(better.uri, BASELINE).per_class

    assert list(found) == LABELS
    assert [of_class.count for of_class in found.values()] == [4, 3, 3]
    assert [of_class.accuracy for of_class in found.values()] == pytest.approx([3 / 4, 1, 2 / 3])


def test_every_image_has_one_row_with_what_each_model_said(better):
    rows = sorted(read_rows(better.uri), key=lambda row: int(row.id.split()[1]))

    assert [row.id for row in rows] == [f"id {number}" for number in range(10)]
    assert rows[8] == Row("id 8", "images/8.png", "cow", Choice(0, 0.75), Choice(2, 0.75))


def test_rows_and_metrics_agree(better):
    rows = list(read_rows(better.uri))

    for model in (BASELINE, CANDIDATE):
        right = [LABELS[row.choice(model).label_id] == row.label for row in rows]
        assert np.mean(right) == pytest.approx(read_metrics(better.uri, model).accuracy)


def test_row_of_a_model_that_gives_no_number_has_none():
    batch = {
        tfma.FEATURES_KEY: {
            keys.ID: np.array([[b"1"], [b"2"]]),
            keys.PATH: np.array([[b"a.png"], [b"b.png"]]),
            keys.LABEL: np.array([["Ørsted".encode()], [b"ant"]]),
        },
        tfma.PREDICTIONS_KEY: {
            BASELINE: np.array([[0.25, 0.75], [0.5, 0.5]]),
            CANDIDATE: np.array([[np.nan, np.nan], [1.0, 0.0]]),
        },
    }

    first, second = rows_of_batch(batch)

    assert (first.id, first.path, first.label) == ("1", "a.png", "Ørsted")
    assert first.baseline == Choice(1, 0.75)
    assert first.candidate.probability is None
    assert second.candidate == Choice(0, 1.0)


def test_place_of_the_rows_is_forgotten_after_an_evaluation_that_fails():
    seen = []

    def evaluate() -> None:
        with writing_rows_to("somewhere"):
            seen.append(rows_dir())
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        evaluate()

    assert seen == ["somewhere"]
    assert rows_dir() is None
