"""Finished runs side by side."""

import json
from pathlib import Path

import pytest
from scipy import stats
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.report.compare import compare_runs
from pipeline.report.run_record import ReportError
from trainer.data.predictions import Choice, Row

from ..predicted import write_predictions
from .hand_made import a_run, write_run

LABELS = ["ant", "bee"]


def make_run(folder: Path, right: range, ids: range = range(100), **config: object) -> Path:
    """A run whose candidate is right on some of its test images."""
    folder.mkdir()
    run = a_run()
    run["config"].update(config)
    run["nodes"].append(
        {
            "name": "Evaluator",
            "state": "done",
            "seconds": 1.0,
            "log": "",
            "execution_id": 1,
            "outputs": {"evaluation": [{"id": 3, "uri": str(folder / "evaluation")}]},
        }
    )
    rows = []
    for number in ids:
        own = number % 2
        choice = Choice(own if number in right else 1 - own, 0.5)
        rows.append(Row(f"{number:05d}", f"{number}.png", LABELS[own], choice, choice))
    write_predictions(folder / "evaluation", rows, LABELS)
    return write_run(folder, run)


def test_models_are_compared_on_the_images_that_both_were_judged_by(tmp_path):
    first = make_run(tmp_path / "a", range(0, 80))
    second = make_run(tmp_path / "b", range(10, 100), ids=range(50, 150))

    (difference,) = compare_runs([first, second]).differences

    # On 50 to 99: 80 to 99 only the second is right.
    assert difference.images == 50
    assert difference.gain == pytest.approx(20 / 50)
    assert difference.p_value == pytest.approx(stats.binomtest(20, 20).pvalue)
    assert difference.low < difference.gain < difference.high
    assert "b: +40.0 points on 50 test images of both runs" in str(difference)


def test_runs_of_other_images_have_nothing_to_be_compared_by(tmp_path):
    first = make_run(tmp_path / "a", range(10))
    second = make_run(tmp_path / "b", range(10), ids=range(200, 210))

    (difference,) = compare_runs([first, second]).differences

    assert str(difference) == f"{second}: no test image is in both runs."


def test_predictions_that_are_gone_leave_the_figures(tmp_path):
    first, second = (make_run(tmp_path / name, range(10)) for name in "ab")
    for path in (second / "evaluation" / "predictions").iterdir():
        path.unlink()

    found = compare_runs([first, second])

    assert found.differences[0].images == 0
    assert {row.title: row.values for row in found.figures}["accuracy, fine-tuned"] == ["85.0%"] * 2


def test_only_settings_that_differ_are_listed(tmp_path):
    first = make_run(tmp_path / "a", range(10), head={"units": 64, "dropout": 0.0})
    second = make_run(tmp_path / "b", range(10), head={"units": 32, "dropout": 0.0}, more=True)

    rows = {row.title: row.values for row in compare_runs([first, second]).settings}

    assert rows == {"head.units": ["64", "32"], "more": ["—", "True"]}


def test_folder_without_a_run_is_named(tmp_path):
    first = make_run(tmp_path / "a", range(10))

    with pytest.raises(ReportError, match=r"none/run\.json: cannot be read"):
        compare_runs([first, tmp_path / "none"])


def test_command_shows_a_table_writes_a_page_and_prints_json(tmp_path):
    runs = [str(make_run(tmp_path / name, range(10))) for name in "ab"]
    page = tmp_path / "compare.html"

    shown = CliRunner().invoke(app, ["compare", *runs, "--html", str(page)])
    machine = CliRunner().invoke(app, ["compare", *runs, "--json"])

    assert shown.exit_code == 0
    assert "accuracy, fine-tuned" in shown.output
    assert "two-sided exact test, p = 1.000" in shown.output
    assert "two-sided exact test, p = 1.000" in page.read_text()
    assert "http" not in page.read_text()
    assert json.loads(machine.output)["runs"] == runs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["out"], "give two runs or more"), (["/none", "/none2"], "/none/run.json: cannot be read")],
)
def test_bad_usage_is_one_sentence(arguments, said):
    done = CliRunner().invoke(app, ["compare", *arguments])

    assert done.exit_code == 2
    assert said in done.output
