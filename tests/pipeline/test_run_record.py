"""`run.json` as a typed record: what is written is what was read, under the same keys."""

import json

import pytest
from pydantic import ValidationError

from pipeline.report.run_record import ReportError, RunRecord, read_run, write_run

from .hand_made import a_run
from .hand_made import write_run as write_by_hand


def test_record_is_written_under_the_keys_it_was_read_from(tmp_path):
    write_by_hand(tmp_path, a_run())

    write_run(read_run(tmp_path), tmp_path)

    written = json.loads((tmp_path / "run.json").read_text())
    expected = {**a_run(), "tuner": None, "since": None}
    for model in ("baseline", "candidate"):
        expected["metrics"][model]["weighted_accuracy"] = None
    for fit in ("head", "fine_tune"):
        expected["fits"][fit] |= {"solved": None, "mixing": None}
    assert written == expected
    assert list(written)[:3] == ["schema", "name", "thaw_version"]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("verdict", "blessed"), None, "'verdict.blessed' is missing"),
        (("nodes", 1, "outputs"), None, "'nodes.1.outputs' is missing"),
        (("data", "set_aside", "list"), None, "'data.set_aside.list' is missing"),
        (("samples", 0, "baseline", "class"), 3, "'samples.0.baseline.class': Input should be a"),
        (("metrics", "test_images"), "many", "'metrics.test_images': Input should be a valid int"),
    ],
)
def test_key_that_is_missing_or_of_another_type_is_named(tmp_path, path, value, problem):
    run = a_run()
    *parents, last = path
    inner = run
    for key in parents:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    write_by_hand(tmp_path, run)

    with pytest.raises(ReportError) as caught:
        read_run(tmp_path)

    assert str(caught.value).startswith(f"{tmp_path}/run.json: is damaged: {problem}")


def test_number_that_is_not_finite_is_never_recorded():
    run = a_run()
    run["metrics"]["candidate"]["loss"] = float("nan")

    with pytest.raises(ValidationError, match=r"metrics\.candidate\.loss"):
        RunRecord.model_validate(run)
