"""Real evaluations of tiny models: metrics, and what each said of every image."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_model_analysis as tfma

from components.evaluator.executor import Executor, MissingBaseline
from components.evaluator.rows import rows_dir, rows_of_batch, writing_rows_to
from pipeline.report.evaluation import read_metrics
from trainer import keys
from trainer.data import predictions
from trainer.data.predictions import (
    BASELINE,
    CANDIDATE,
    REFERENCE_TOP,
    Choice,
    Row,
    read_predictions,
)
from trainer.errors import ThawError
from trainer.export import LOGITS, PROBABILITIES, UNKNOWN_SCORE

from .evaluations import LABELS, evaluate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def better(tmp_path_factory) -> str:
    """10 images, of which the baseline gets 8 right and the candidate 9; three of four ants."""
    return evaluate(tmp_path_factory.mktemp("better"), 10, 8, 9).uri


@pytest.mark.parametrize("inputs", [{}, {"baseline_model": []}])
def test_without_a_baseline_nothing_is_judged(inputs):
    with pytest.raises(MissingBaseline, match=r"(?s)no baseline model.*Run HeadTrainer first"):
        Executor().Do({"examples": [], "model": [], **inputs}, {}, {})


def test_metrics_are_those_of_each_model(better):
    baseline, candidate = (read_metrics(better, model) for model in (BASELINE, CANDIDATE))

    # Right answers get 0.75, wrong ones leave 0.125 to the true class.
    losses = -np.log([0.75] * 9 + [0.125])
    assert candidate.accuracy == pytest.approx(0.9, abs=1e-6)
    assert candidate.loss == pytest.approx(losses.mean(), abs=1e-5)
    assert candidate.count == 10
    assert baseline.accuracy == pytest.approx(0.8, abs=1e-6)


def test_metrics_of_each_class_are_told_in_order(better):
    found = read_metrics(better, BASELINE).per_class

    assert list(found) == LABELS
    assert [of_class.count for of_class in found.values()] == [4, 3, 3]
    assert [of_class.accuracy for of_class in found.values()] == pytest.approx([3 / 4, 1, 2 / 3])


def test_every_image_has_one_row_with_what_each_model_said(better):
    found = read_predictions(better)
    rows = sorted(found.rows(), key=lambda row: int(row.id.split()[1]))

    assert [row.id for row in rows] == [f"id {number}" for number in range(10)]
    assert rows[8] == Row("id 8", "images/8.png", "cow", Choice(0, 0.75), Choice(2, 0.75))
    eighth = found.ids.index("id 8")
    assert found.label_ids[eighth] == 2
    expected = np.log([[0.75, 0.125, 0.125], [0.125, 0.125, 0.75]])
    for model, logits in zip((BASELINE, CANDIDATE), expected, strict=True):
        np.testing.assert_allclose(found.answers[model].logits[eighth], logits, rtol=1e-6)


def test_images_of_one_group_have_one_number(better):
    found = read_predictions(better)
    numbers = dict(zip(found.ids, found.group_numbers(), strict=True))

    assert numbers["id 0"] == numbers["id 1"] != numbers["id 2"] == numbers["id 3"]
    assert len(set(numbers.values())) == 8


def test_predictions_and_metrics_agree(better):
    found = read_predictions(better)

    for model in (BASELINE, CANDIDATE):
        expected = read_metrics(better, model).accuracy
        assert found.right(model).mean() == pytest.approx(expected)


def test_row_of_a_model_that_gives_no_number_has_none(tmp_path):
    batch = {
        tfma.FEATURES_KEY: {
            keys.ID: np.array([[b"1"], [b"2"]]),
            keys.PATH: np.array([[b"a.png"], [b"b.png"]]),
            keys.LABEL: np.array([["Ørsted".encode()], [b"ant"]]),
            keys.LABEL_ID: np.array([[1], [0]]),
            keys.GROUP: np.array([[b""], [b"g"]]),
            keys.WEIGHT: np.array([[0.5], [1.0]]),
        },
        tfma.PREDICTIONS_KEY: {
            BASELINE: _outputs([[0.25, 0.75], [0.5, 0.5]]),
            CANDIDATE: _outputs([[np.nan, np.nan], [1.0, 0.0]]),
        },
    }
    table = pa.Table.from_pylist(list(rows_of_batch(batch)), predictions.SCHEMA)
    (tmp_path / predictions.FOLDER).mkdir()
    pa.parquet.write_table(table, tmp_path / predictions.FOLDER / "part.parquet")

    found = read_predictions(str(tmp_path))
    first, second = found.rows()

    assert (first.id, first.path, first.label) == ("1", "a.png", "Ørsted")
    assert first.weight == 0.5
    assert first.baseline == Choice(1, 0.75)
    assert first.candidate.probability is None
    assert second.candidate == Choice(0, 1.0)
    assert found.groups == ["", "g"]
    assert found.answers[predictions.CANDIDATE].unknown_scores.tolist() == [0.0, 1.0]
    assert {name: ids.tolist() for name, ids in found.references.items()} == {REFERENCE_TOP: [1, 0]}


def _outputs(probabilities: list[list[float]]) -> dict[str, np.ndarray]:
    found = np.array(probabilities, np.float32)
    with np.errstate(divide="ignore"):
        return {
            PROBABILITIES: found,
            LOGITS: np.log(found),
            UNKNOWN_SCORE: np.arange(len(found), dtype=np.float32),
            REFERENCE_TOP: found,
        }


def test_a_folder_without_predictions_or_with_others_is_named(tmp_path):
    with pytest.raises(ThawError, match="holds no predictions"):
        read_predictions(str(tmp_path))
    (tmp_path / predictions.FOLDER).mkdir()
    path = tmp_path / predictions.FOLDER / "part.parquet"
    pa.parquet.write_table(pa.table({"id": ["1"]}), path)

    with pytest.raises(ThawError, match=r"part\.parquet: does not hold predictions"):
        read_predictions(str(tmp_path))


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
