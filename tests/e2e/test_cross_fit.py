"""A real run whose verdict is judged by folds of all images."""

import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from scipy import stats

from .conftest import CLASSES, GOOD, HARMFUL, OPTIONS, PER_CLASS, states, thaw

pytestmark = pytest.mark.slow

FOLDS = 4


@pytest.fixture(scope="module")
def command(images, tmp_path_factory) -> list[str]:
    settings = (*OPTIONS, GOOD, "gate.evidence=cross_fit", f"gate.folds={FOLDS}")
    output = tmp_path_factory.mktemp("folds") / "output"
    options = [f"--set={setting}" for setting in settings]
    return ["run", "--images", str(images), "--output", str(output), *options]


@pytest.fixture(scope="module")
def run(command) -> dict:
    done = thaw(*command)
    assert done.returncode == 0, done.stdout
    return json.loads((Path(command[4]) / "run.json").read_text())


def rows(run: dict) -> list[dict]:
    (node,) = [node for node in run["nodes"] if node["name"] == "CrossFitter"]
    uri = Path(node["outputs"]["evidence"][0]["uri"])
    return parquet.read_table(uri / "predictions").to_pylist()


def test_every_image_was_left_out_once(run):
    found = rows(run)

    assert len({row["id"] for row in found}) == len(found) == CLASSES * PER_CLASS
    assert {row["fold"] for row in found} == set(range(FOLDS))
    # Each fold has its classes in their shares.
    for fold in range(FOLDS):
        labels = [row["label"] for row in found if row["fold"] == fold]
        assert len(set(labels)) == CLASSES
        assert all(row["train_images"] < len(found) - 2 * len(labels) + 4 for row in found)


def test_the_verdict_follows_from_the_folds_by_scipy_alone(run):
    found, verdict = rows(run), run["verdict"]
    right = {
        model: np.array([np.argmax(row[f"{model}_logits"]) == row["label_id"] for row in found])
        for model in ("baseline", "candidate")
    }
    difference = right["candidate"].astype(int) - right["baseline"]
    folds = np.array([row["fold"] for row in found])
    gains = [difference[folds == fold].mean() for fold in range(FOLDS)]
    ratio = np.mean(
        [np.sum(folds == row["fold"]) / row["train_images"] for row in _one_each(found)]
    )
    error = np.std(gains, ddof=1) * np.sqrt(1 / FOLDS + ratio)
    gained, lost = int(np.sum(difference > 0)), int(np.sum(difference < 0))
    exact = stats.binomtest(gained, gained + lost, 0.5, "greater").pvalue

    expected = max(exact, stats.t.sf(difference.mean() / error, FOLDS - 1))
    assert verdict["clauses"][0]["p_value"] == pytest.approx(expected)
    assert verdict["gain"] == pytest.approx(difference.mean())
    assert (verdict["folds"], verdict["images"]) == (FOLDS, CLASSES * PER_CLASS)
    assert verdict["paired"]["candidate_only"] == gained


def _one_each(found: list[dict]) -> list[dict]:
    return list({row["fold"]: row for row in found}.values())


def test_the_same_command_again_repeats_no_fold(run, command):
    again = thaw(*command)

    assert again.returncode == 0
    assert states(Path(command[4]))["CrossFitter"] == "cached"


def test_an_ablation_repeats_the_run_and_says_what_one_fit_would_give(run, command):
    output = Path(command[4])

    done = thaw("ablate", output, "--seeds", 1)

    assert done.returncode == 0, done.stdout
    (found,) = json.loads((output / "ablation.json").read_text())["results"]
    metrics = run["metrics"]
    assert found["accuracy"]["head_only"] == pytest.approx(metrics["baseline"]["accuracy"])
    assert found["accuracy"]["both_fits"] == pytest.approx(metrics["candidate"]["accuracy"])
    assert found["similarity"]["head_only"] == pytest.approx(1)
    assert 0 < found["similarity"]["both_fits"] < 1
    assert found["gradient_fresh"] > 0
    assert "Why two fits, on these images" in (output / "report.html").read_text()


def test_the_baseline_can_be_pushed_in_place_of_a_harmful_candidate(run, images, command):
    """After all others: it changes what stands in the output folder."""
    output = Path(command[4])
    settings = (*OPTIONS, HARMFUL, "gate.fallback=baseline", "gate.served=ignore")

    done = thaw(
        "run",
        "--images",
        images,
        "--output",
        output,
        "--require-blessing",
        *(f"--set={setting}" for setting in settings),
    )

    assert done.returncode == 3, done.stdout
    found = json.loads((output / "run.json").read_text())
    assert found["verdict"]["outcome"] == "refuse"
    assert (found["verdict"]["blessed"], found["verdict"]["baseline_pushed"]) == (False, True)
    version = Path(found["model"]["path"])
    (head,) = [node for node in found["nodes"] if node["name"] == "HeadTrainer"]
    model = Path(head["outputs"]["model"][0]["uri"]) / "Format-Serving"
    assert (version / "saved_model.pb").read_bytes() == (model / "saved_model.pb").read_bytes()
    assert "the baseline was pushed" in (output / "report.html").read_text()
    assert "This is the baseline" in (version / "assets" / "model_card.md").read_text()
