"""A candidate against the model that it would replace."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.gate.judge import judge
from components.gate.rule import GateRule
from components.gate.served import Served, ServedAnswer, ask_served, write_answers
from trainer import keys
from trainer.data.card import DataCard, write_card
from trainer.data.predictions import Choice, Predictions, Row
from trainer.errors import ThawError

from ..cli.bright_model import save_bright_model
from ..predicted import predictions_of

LABELS = ["bright", "dark"]


def predicted(folder: Path, count: int, baseline: int, candidate: int) -> Predictions:
    """Bright images; the first so many are right."""
    rows = [
        Row(
            f"{number:04d}",
            f"{number}.png",
            "bright",
            Choice(int(number >= baseline), 0.5),
            Choice(int(number >= candidate), 0.5),
        )
        for number in range(count)
    ]
    return predictions_of(folder, rows, LABELS)


def served(count: int, right: int, probability: float = 0.9) -> Served:
    answers = (
        ServedAnswer(f"{number:04d}", LABELS[int(number >= right)], probability)
        for number in range(count)
    )
    return Served("7", {one.id: one for one in answers})


@pytest.mark.parametrize(
    ("served_right", "rule", "outcome"),
    [
        (150, GateRule(), "promote"),  # better than it
        (180, GateRule(), "promote"),  # as good, and 200 images show that it is not much worse
        (184, GateRule(), "undecided"),  # two points worse, which may be five
        (190, GateRule(), "refuse"),  # five points worse
        (190, GateRule(served_margin=0.2), "promote"),
        (180, GateRule(must_beat_served=True), "undecided"),
        (150, GateRule(must_beat_served=True), "promote"),
        (184, GateRule(must_beat_served=True), "refuse"),
    ],
)
def test_a_candidate_that_beats_its_baseline_must_not_be_worse_than_what_is_served(
    tmp_path, served_right, rule, outcome
):
    found = judge(predicted(tmp_path, 200, 100, 180), rule, served(200, served_right))

    assert found.choice.passed
    assert found.outcome == outcome
    assert found.served_version == "7"
    promotion = found.clauses[1]
    assert promotion.estimate == pytest.approx((180 - served_right) / 200)
    assert f"(version 7) has a test accuracy of {served_right / 200:.1%}" in promotion.sentence


def test_the_limit_is_one_of_the_intervals_ends(tmp_path):
    """By hand, with half an image more in each cell: 2 of 200 lost and none gained."""
    found = judge(predicted(tmp_path, 200, 100, 180), GateRule(), served(200, 182))

    b, c, n = 0.5, 2.5, 202
    low = (b - c) / n - 1.644854 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    assert found.clauses[1].low == pytest.approx(low, abs=1e-6)
    assert (found.outcome == "promote") == (low > -0.03)


def test_the_served_model_itself_is_promoted_by_however_few_images(tmp_path):
    """So that other settings of the gate do not call it worse than itself."""
    found = judge(predicted(tmp_path, 20, 5, 20), GateRule(), served(20, 20, probability=1.0))
    other = judge(predicted(tmp_path / "b", 20, 5, 20), GateRule(), served(20, 20, 0.6))

    assert (found.outcome, other.outcome) == ("promote", "undecided")


def test_an_image_that_the_served_model_was_not_asked_about_is_an_error(tmp_path):
    with pytest.raises(ThawError, match="1 test images are in the evaluation, but not"):
        judge(predicted(tmp_path, 20, 5, 20), GateRule(), served(19, 19))


@pytest.fixture
def images(tmp_path) -> str:
    """Ingested test images: a bright one, a dark one, one that the model cannot read."""
    white, black = (np.full([8, 8, 3], value, np.uint8) for value in (250, 5))
    contents = {
        "1": tf.io.encode_png(white).numpy(),
        "2": tf.io.encode_png(black).numpy(),
        "3": b"no image that this model reads",
    }
    folder = tmp_path / "examples" / "Split-test"
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "images-0.gz"), "GZIP") as writer:
        for name, content in contents.items():
            example = tf.train.Example()
            example.features.feature[keys.ID].bytes_list.value.append(name.encode())
            example.features.feature[keys.IMAGE_BYTES].bytes_list.value.append(content)
            writer.write(example.SerializeToString())
    counts = {"train": {"bright": 1}, "val": {"bright": 1}, "test": {"bright": 2, "dark": 1}}
    write_card(DataCard("photos", "", counts), str(tmp_path / "examples"))
    return str(tmp_path / "examples")


def test_the_newest_version_is_asked_about_the_files(tmp_path, images):
    serving = tmp_path / "serving"
    save_bright_model(serving / "2")
    (serving / "10").mkdir()  # not complete: no server would take it

    found = ask_served(str(serving), images)
    write_answers(found, str(tmp_path))

    assert found.version == "2"
    names = {name: answer.class_name for name, answer in found.answers.items()}
    assert names == {"1": "bright", "2": "dark", "3": ""}
    assert found.answers["1"].probability == pytest.approx(250 / 255, abs=1e-3)
    lines = (tmp_path / "served.jsonl").read_text().splitlines()
    assert [line[:9] for line in lines] == ['{"id": "1', '{"id": "2', '{"id": "3']


def test_where_nothing_is_served_there_is_nothing_to_compare_with(tmp_path, images):
    assert ask_served(str(tmp_path / "serving"), images) is None


def test_a_served_model_that_cannot_be_loaded_is_an_error_that_says_what_to_do(tmp_path, images):
    (tmp_path / "serving" / "1").mkdir(parents=True)
    (tmp_path / "serving" / "1" / "saved_model.pb").write_bytes(b"damaged")

    with pytest.raises(ThawError, match=r"(?s)cannot be compared with.*gate\.served to ignore"):
        ask_served(str(tmp_path / "serving"), images)


FALLBACK = GateRule(fallback="baseline", served_margin=0.03)


def test_baseline_takes_the_place_of_a_candidate_that_is_no_better(tmp_path):
    found = judge(predicted(tmp_path, 200, 180, 180), FALLBACK)

    assert found.outcome == "keep_baseline"
    assert found.push_baseline
    assert found.fallback == "The baseline is pushed in its place (gate.fallback)."


def test_baseline_is_not_pushed_unless_asked_for_nor_beside_a_promotion(tmp_path):
    unasked = judge(predicted(tmp_path / "a", 200, 180, 180), GateRule())
    promoted = judge(predicted(tmp_path / "b", 200, 100, 180), FALLBACK)

    assert (unasked.push_baseline, unasked.fallback) == (False, "")
    assert promoted.promotes
    assert not promoted.push_baseline


def test_baseline_that_is_worse_than_the_served_model_is_not_pushed(tmp_path):
    found = judge(predicted(tmp_path, 200, 150, 150), FALLBACK, served(200, 190))

    assert not found.push_baseline
    assert found.fallback.startswith("The baseline is not pushed either. The model that is served")
    assert "the baseline's is -20.0 points" in found.fallback


def test_baseline_that_is_not_good_enough_is_not_pushed(tmp_path):
    rule = GateRule(fallback="baseline", min_accuracy=0.95)

    found = judge(predicted(tmp_path, 200, 180, 180), rule)

    assert not found.push_baseline
    assert "misses the required 95.0%" in found.fallback
