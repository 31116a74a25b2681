"""Both fits of a finished run once more, each by two workers, as `thaw run` starts them."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.earlier_head import WEIGHTS_FILE
from trainer.fits.record import HISTORY_FILE

from ..conftest import ROOT
from ..trainer.conftest import weights_in

pytestmark = pytest.mark.slow

NODES = ("HeadTrainer", "FineTuner")

# Rounding over four epochs of fit 2.
CLOSE = 1e-3


@dataclass(frozen=True)
class Models:
    """Folders of a node's model: made by one process, and by two workers."""

    one: Path
    two: Path


@pytest.fixture(scope="module")
def run_again(good_run, output, tmp_path_factory) -> Callable[[int], Path]:
    """Runs both fits with so many workers, each on the inputs that it had."""

    def run(workers: int) -> Path:
        new = tmp_path_factory.mktemp(f"workers-{workers}")
        first = min((output / "logs").iterdir(), key=lambda path: path.stat().st_mtime)
        config = json.loads((first / "config.json").read_text())
        config["train"]["workers"] = workers
        # At the rate of these runs differences in rounding grow with every epoch.
        config["fits"]["fine_tune"].update(max_epochs=4, learning_rate=1e-4)
        folder = new / first.name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        command = ["-m", "tests.e2e.rerun_nodes", folder, output, new, ",".join(NODES)]
        done = subprocess.run(
            [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        outcomes = json.loads(done.stdout.splitlines()[-1])
        assert all(outcome["ok"] for outcome in outcomes.values()), outcomes
        return new

    return run


@pytest.fixture(scope="module")
def alone(run_again) -> Path:
    return run_again(1)


@pytest.fixture(scope="module")
def rerun(run_again) -> Path:
    return run_again(2)


@pytest.fixture(params=NODES)
def models(request, alone, rerun) -> Models:
    one, two = (
        next((folder / "artifacts" / request.param / "model").iterdir())
        for folder in (alone, rerun)
    )
    return Models(one, two)


def history(model: Path) -> dict[str, Any]:
    return json.loads((model / HISTORY_FILE).read_text())


def test_two_workers_leave_the_weights_of_one_and_an_exported_model(models):
    one, two = (weights_in(model / WEIGHTS_FILE) for model in (models.one, models.two))

    assert one.keys() == two.keys()
    assert max(np.max(np.abs(one[name] - two[name])) for name in one) < CLOSE
    assert (models.two / "Format-Serving" / "saved_model.pb").exists()
    assert history(models.two)["best_epoch"] == history(models.one)["best_epoch"]


def test_each_worker_has_a_log_and_the_chief_alone_reports(rerun):
    for node in NODES:
        assert len(list((rerun / f"{node}-workers").glob("*.log"))) == 2
    events = [json.loads(line) for line in (rerun / "events.jsonl").read_text().splitlines()]
    for node in NODES:
        done = [
            event["done"]
            for event in events
            if event["event"] == "progress" and (event["node"], event["unit"]) == (node, "epochs")
        ]
        assert done
        assert done == sorted(done)
