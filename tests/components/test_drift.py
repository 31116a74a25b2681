"""What has changed since the run before is said, and where that is asked ends the run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.example_validator.drift import Drift, read_drift
from components.example_validator.executor import DataAnomalies
from trainer.data.rules import DriftRule

from .statistics import infer_schema, validate, write_statistics

BEFORE = ["ant"] * 50 + ["bee"] * 50


@pytest.fixture
def run(tmp_path) -> Callable[..., Drift]:
    """A run on training images of these classes; TFX numbers the folders of one output."""
    count = 0

    def run(labels: list[str], size_px: int = 8, rule: DriftRule | None = None) -> Drift:
        nonlocal count
        count += 1
        splits = dict.fromkeys(("train", "val", "test"), labels)
        statistics = write_statistics(tmp_path / "statistics" / str(count), splits, size_px)
        schema, _ = infer_schema(statistics, tmp_path / "schema" / str(count))
        folder = tmp_path / "anomalies" / str(count)
        validate(statistics, schema, folder, rule)
        return read_drift(str(folder))

    return run


def test_the_first_run_has_nothing_to_compare_with(run):
    assert run(BEFORE) == Drift()


def test_small_changes_are_none(run, tmp_path):
    run(BEFORE)

    drift = run(["ant"] * 55 + ["bee"] * 50)

    assert drift == Drift(str(tmp_path / "statistics" / "1"), [])


def test_shares_and_sizes_that_change_are_named_and_the_newest_run_is_what_counts(run):
    run(["ant"] * 10 + ["bee"] * 90)
    run(BEFORE)

    shares = run(["ant"] * 30 + ["bee"] * 90)
    sizes = run(["ant"] * 30 + ["bee"] * 90, size_px=64)

    (change,) = shares.changes
    assert change.startswith("label: The Linfty distance between current and previous is 0.25")
    assert "threshold 0.1" in change
    assert [line.split(":")[0] for line in sizes.changes] == ["height_px", "width_px"]


def test_a_new_class_that_is_common_and_a_data_set_that_shrinks_are_named(run):
    run(BEFORE)

    (grown,) = run([*BEFORE, *["cat"] * 50]).changes
    shrunk = run(["ant"] * 15 + ["bee"] * 15 + ["cat"] * 15).changes

    assert "cat" in grown
    assert shrunk == ["there are 45 training images, and there were 150."]


def test_limits_are_those_of_the_config_and_may_end_the_run(run):
    run(BEFORE)

    assert run(["ant"] * 30 + ["bee"] * 90, rule=DriftRule(label_share=0.3)).changes == []
    with pytest.raises(DataAnomalies) as caught:
        run(BEFORE, size_px=64, rule=DriftRule(fatal=True))

    assert str(caught.value).startswith("the training images have changed since the run before: ")
    assert "height_px: " in str(caught.value)
    assert "data.drift.fatal=false" in str(caught.value)


def test_examples_of_an_older_version_have_no_record(tmp_path: Path):
    assert read_drift(str(tmp_path)) == Drift()
