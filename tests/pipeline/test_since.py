"""What has changed since an earlier run."""

from pathlib import Path

import pytest

from components.image_example_gen.earlier_splits import write_splits
from pipeline.report.earlier_run import EarlierRun, read_earlier_run, write_earlier_run
from pipeline.report.since import compare_with
from trainer.data.predictions import Choice, Row

from ..predicted import write_predictions


def row(identity: str, label: str, choice: int) -> Row:
    return Row(identity, f"{identity}.jpg", label, Choice(0, 0.5), Choice(choice, 0.5))


@pytest.fixture
def earlier(tmp_path) -> EarlierRun:
    """Classes ant and bee; of three test images one was right."""
    examples, evaluation = tmp_path / "examples", tmp_path / "evaluation"
    splits = {"a": "train", "b": "val", "c": "test", "d": "test", "e": "test"}
    write_splits(splits, str(examples))
    rows = [row("c", "ant", 0), row("d", "bee", 0), row("e", "bee", 0)]
    write_predictions(evaluation, rows, ["ant", "bee"])
    return EarlierRun(
        "out", "1", "2026-01-01", ["ant", "bee"], "model", str(examples), str(evaluation)
    )


def test_images_classes_splits_and_accuracy_are_compared(earlier, tmp_path):
    now = {"a": "train", "b": "train", "c": "test", "d": "test", "f": "test", "g": "train"}
    write_splits(now, str(tmp_path / "now"))
    # Of the old test images d is right now as well; f is a new one.
    rows = [row("c", "ant", 0), row("d", "bee", 1), row("f", "cow", 0)]

    since = compare_with(earlier, str(tmp_path / "now"), rows, ["ant", "bee", "cow"])

    assert (since.images_added, since.images_gone, since.images_moved) == (2, 1, 1)
    assert (since.new_classes, since.gone_classes) == (["cow"], [])
    assert (since.old_test_images, since.accuracy_before, since.accuracy_now) == (2, 0.5, 1.0)


def test_without_a_common_test_image_there_is_no_accuracy(earlier, tmp_path):
    write_splits({"x": "test"}, str(tmp_path / "now"))

    since = compare_with(earlier, str(tmp_path / "now"), [row("x", "ant", 0)], ["ant", "dog"])

    assert (since.old_test_images, since.accuracy_before, since.accuracy_now) == (0, None, None)
    assert (since.new_classes, since.gone_classes) == (["dog"], ["bee"])


def test_it_is_handed_on_by_the_folder_of_the_run(earlier, tmp_path):
    assert read_earlier_run(tmp_path) is None

    write_earlier_run(earlier, tmp_path)

    assert read_earlier_run(Path(tmp_path)) == earlier
