"""A real run with a search: the trainers use what it found, and it is not done twice."""

import json
from pathlib import Path

import pytest

from ..conftest import CIFAR_WEIGHTS
from .conftest import states, thaw

pytestmark = pytest.mark.slow

OPTIONS = (
    f"backbone.weights={CIFAR_WEIGHTS if CIFAR_WEIGHTS.is_file() else 'random'}",
    "backbone.image_size_px=75",
    "name=hands",
    "train.global_batch_size=8",
    # Worse than anything the search may choose instead.
    "head.units=2",
    "fits.head.learning_rate=1e-8",
    "fits.head.max_epochs=3",
    "fits.fine_tune.max_epochs=1",
    "tuner.enabled=true",
    "tuner.head_trials=6",
    "tuner.max_epochs=3",
    "tuner.head_learning_rates=[1e-4,1e-2]",
    "tuner.units=[16,32]",
    "tuner.fine_tune_trials=2",
    "tuner.fine_tune_max_epochs=1",
    "tuner.boundaries=[mixed9]",
)


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tuned") / "output"


@pytest.fixture(scope="module")
def run(images, output) -> dict:
    options = [f"--set={option}" for option in OPTIONS]
    done = thaw("run", "--images", images, "--output", output, *options)
    assert done.returncode == 0, done.stdout
    return json.loads((output / "run.json").read_text())


def config_of(run: dict, node: str) -> dict:
    (found,) = [entry for entry in run["nodes"] if entry["name"] == node]
    folder = Path(found["outputs"]["model"][0]["uri"])
    return json.loads((folder / "Format-Serving" / "assets" / "config.json").read_text())


def test_run_json_holds_every_trial_of_both_stages(run):
    trials = run["tuner"]["trials"]

    assert [trial["stage"] for trial in trials] == ["head"] * 6 + ["fine_tune"] * 2
    assert all(trial["status"] == "completed" for trial in trials), trials
    assert trials[0]["values"]["head.units"] == 2
    assert trials[6]["values"]["fits.fine_tune.boundary"] == "mixed8"
    best = min(trials[:6], key=lambda trial: trial["objective"])["values"]
    assert best.items() <= run["tuner"]["best"].items()


def test_both_fits_use_the_best_values_and_say_so(run):
    best = run["tuner"]["best"]

    for node in ("HeadTrainer", "FineTuner"):
        config = config_of(run, node)
        assert config["head"]["units"] == best["head.units"] != 2
        assert config["head"]["dropout"] == best["head.dropout"]
        assert config["train"]["label_smoothing"] == best["train.label_smoothing"]
        assert config["fits"]["head"]["learning_rate"] == best["fits.head.learning_rate"]
    tuned = config_of(run, "FineTuner")["fits"]["fine_tune"]
    assert tuned["learning_rate"] == best["fits.fine_tune.learning_rate"]
    assert tuned["boundary"] == best["fits.fine_tune.boundary"]
    assert run["fits"]["fine_tune"]["boundary"] == best["fits.fine_tune.boundary"]
    classes, units = len(run["data"]["classes"]), best["head.units"]
    head_parameters = 2048 * units + units + units * classes + classes
    assert run["fits"]["head"]["trainable_parameters"] == head_parameters


def test_report_tells_of_the_search(run, output):
    page = (output / "report.html").read_text()

    assert "best of 8 trials (hyperband)" in page
    assert "Head: 6 trials, best first" in page
    assert "Fine-tuning: 2 trials, best first" in page


def test_same_command_again_searches_nothing(run, images, output):
    options = [f"--set={option}" for option in OPTIONS]

    done = thaw("run", "--images", images, "--output", output, *options)

    assert done.returncode == 0, done.stdout
    assert set(states(output).values()) == {"cached"}
    assert "Tuner" in states(output)
