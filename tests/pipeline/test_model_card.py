"""The model card of a hand-made run."""

from pathlib import Path

from scipy import stats

from pipeline.report.page import build_report
from serving.version_record import read_version

from .hand_made import a_run, rename_class, write_run


def card_of(folder: Path, run: dict) -> str:
    build_report(write_run(folder, run))
    return (folder / "model_card.md").read_text()


def test_card_has_its_sections_and_leaves_the_intended_use_to_the_owner(tmp_path):
    card = card_of(tmp_path, a_run())

    titles = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert titles == [
        "Model",
        "Intended use",
        "Data",
        "Metrics",
        "Verdict of the gate",
        "Calibration and limits",
        "Lineage",
    ]
    assert "*To be written by the owner of the model" in card


def test_figures_are_those_of_the_run(tmp_path):
    card = card_of(tmp_path, a_run())

    assert "| accuracy | 70.0% | 85.0% |" in card
    low, high = stats.binomtest(17, 20).proportion_ci(method="exact")
    assert f"between {low:.1%} and {high:.1%}" in card
    assert "| bee | 8 | 62.5% | 100.0% | +2 to +60 points |" in card
    assert "| ant | 61 | 13 | 12 |" in card
    assert "by 4.0% in the calibrated probabilities" in card
    assert "0.600 (bee) to 0.910" in card
    assert "Recognised least: ant (75.0%)." in card
    assert "| FineTuner, model 1 | `/out/artifacts/FineTuner/model/1` |" in card


def test_tables_keep_their_columns_whatever_a_class_is_called(tmp_path):
    card = card_of(tmp_path, rename_class(a_run(), "ant", "a|b*c"))

    assert "| a\\|b\\*c | 61 | 13 | 12 |" in card


def test_card_goes_into_the_assets_of_the_pushed_version(tmp_path):
    run = a_run()
    version = tmp_path / "serving" / "birds" / "7"
    (version / "assets").mkdir(parents=True)
    run["model"]["path"] = str(version)

    card = card_of(tmp_path, run)

    assert (version / "assets" / "model_card.md").read_text() == card
    assert "| version | 7 |" in card
    record = read_version(version)
    assert (record.version, record.run_id, record.accuracy) == ("7", "run 1", 0.85)
    assert record.model == "candidate"


def test_card_of_a_baseline_that_was_pushed_says_so(tmp_path):
    run = a_run()
    version = tmp_path / "serving" / "birds" / "7"
    (version / "assets").mkdir(parents=True)
    run["model"]["path"] = str(version)
    run["verdict"].update(blessed=False, baseline_pushed=True, outcome="keep_baseline")

    card = card_of(tmp_path, run)

    assert "This is the baseline, the model of fit 1" in card
    assert "| trained blocks | the head alone |" in card
    low, high = stats.binomtest(14, 20).proportion_ci(method="exact")
    assert f"between {low:.1%} and {high:.1%}" in card
    assert "Recognised least: bee (62.5%), ant (75.0%)." in card
    assert (read_version(version).model, read_version(version).accuracy) == ("baseline", 0.7)


def test_model_that_was_removed_since_does_not_matter(tmp_path):
    run = a_run()
    run["model"]["path"] = str(tmp_path / "gone" / "7")

    assert "| version | 7 |" in card_of(tmp_path, run)
    assert not (tmp_path / "gone").exists()


def test_run_that_was_not_pushed_says_so(tmp_path):
    run = a_run() | {"model": None, "certainty": None, "class_changes": []}

    card = card_of(tmp_path, run)

    assert "| version | not pushed |" in card
    assert "is_known" not in card
