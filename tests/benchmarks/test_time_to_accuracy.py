"""The arithmetic of `benchmarks.time_to_accuracy`; and, slowly, the script itself."""

import json
import subprocess
import sys

import pytest

from benchmarks.time_to_accuracy import compare, overall

from ..conftest import ROOT


def side(seconds: float, losses: tuple[float, float], accuracy: float) -> dict:
    return {
        "seconds": seconds,
        "val_loss": dict(zip(("head", "fine_tune"), losses, strict=True)),
        "accuracy": {"fine_tune": accuracy},
    }


PLAIN = {
    "seconds": 100.0,
    "accuracy": {"fine_tune": 0.8},
    "epochs": [
        {"seconds": second, "val_loss": loss}
        for second, loss in ((10.0, 0.9), (40.0, 0.5), (70.0, 0.6), (90.0, 0.5))
    ],
}


def test_ratio_is_to_the_first_epoch_that_reached_the_plain_recipes_lowest_loss():
    sides = {
        "plain": PLAIN,
        "recipe": side(18.0, (0.8, 0.51), 0.8),
        "fast": side(8.0, (0.7, 0.5), 0.85),
    }

    figures = compare(sides, decode=2.0)

    assert (figures["target"], figures["plain_seconds"]) == (0.5, 40.0)
    assert (figures["fast_seconds"], figures["fast_ratio"]) == (10.0, 4.0)
    assert figures["recipe_ratio"] == 0  # it does not get there
    assert figures["fast_accuracy_difference"] == pytest.approx(0.05)


def test_figures_are_over_all_cases_and_seeds():
    runs = [
        {"fast_ratio": ratio, "fast_accuracy_difference": difference}
        for ratio, difference in ((4.0, 0.02), (10.0, 0.0), (6.0, -0.01), (8.0, 0.03))
    ]

    figures = overall(runs)

    assert figures["ratio"] == 7.0
    assert figures["accuracy_difference"] == pytest.approx(0.01)
    # Student's t with 3 degrees of freedom: 3.1824; standard deviation 0.018257.
    assert figures["accuracy_low"] == pytest.approx(0.01 - 3.1824 * 0.018257 / 2, abs=1e-5)
    assert overall(runs[:1])["accuracy_low"] is None


@pytest.mark.slow
def test_script_times_both_sides_and_leaves_the_promised_figures(tmp_path):
    target = tmp_path / "figures.json"
    options = ["--case", "digits:mobilenet_v2", "--images", "70", "--seeds", "1", "--epochs", "2"]
    options += ["--shared", tmp_path / "none", "--json", target, "--no-recipe"]

    command = [sys.executable, "-m", "benchmarks.time_to_accuracy", *map(str, options)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert found.returncode == 0, found.stderr[-2000:]
    written = json.loads(target.read_text())
    assert {"ratio", "accuracy_difference", "accuracy_low"} <= written.keys()
    (run,) = written["runs"]
    assert len(run["sides"]["plain"]["epochs"]) == 4
    assert all(run[f"{name}_seconds"] > 0 for name in ("plain", "fast"))
    assert "random weights, at 96 px" in found.stdout
