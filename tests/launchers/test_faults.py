"""What can happen to two workers that train together, done to real processes."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from launchers.local.launcher import LocalLauncher, free_ports
from launchers.worker_group import Limits, WorkerGroup
from tests.conftest import ROOT
from tests.image_examples import write_image_examples
from tests.launchers.faulty_fits import EPOCHS
from tests.launchers.processes import living
from tests.trainer.conftest import SIZE_PX, weights_in
from trainer.earlier_head import WEIGHTS_FILE
from trainer.fits.record import HISTORY_FILE
from trainer.process import exit_codes
from trainer.process.tf_config import tf_config

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-m", "tests.launchers.faulty_fits"]
CHIEF, WORKER = 0, 1

# Fit, epochs completed before, step, who, what.
FAULTS = [
    ("head", 1, 1, WORKER, signal.SIGKILL),
    ("head", 2, 1, CHIEF, signal.SIGKILL),
    ("head", 3, 1, WORKER, signal.SIGTERM),
    ("top", 1, 1, CHIEF, signal.SIGKILL),
    ("top", 2, 1, WORKER, signal.SIGKILL),
    ("top", 3, 1, WORKER, signal.SIGSTOP),
]


@dataclass
class Done:
    folder: Path
    launcher_said: str

    def weights(self, fit: str) -> dict[str, np.ndarray]:
        return weights_in(self.folder / fit / WEIGHTS_FILE)

    def history(self, fit: str) -> dict:
        return json.loads((self.folder / fit / HISTORY_FILE).read_text())["history"]

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text()


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_image_examples(folder, {"train": [13, 9], "val": [6]}, SIZE_PX)
    return folder


def run(images: Path, folder: Path, faults: list, limits: Limits) -> None:
    request = folder / "request.json"
    values = {"folder": str(folder), "images": str(images), "faults": faults}
    request.write_text(json.dumps(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        group = WorkerGroup("test-fits", str(request), 2, str(folder / "logs"), limits)
        LocalLauncher(PROGRAM).run(group)


@pytest.fixture(scope="module")
def undisturbed(images, tmp_path_factory) -> Done:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(images, folder, [], Limits(max_restarts=0))
    return Done(folder, "")


@pytest.fixture(scope="module")
def disturbed(images, tmp_path_factory) -> Done:
    folder = tmp_path_factory.mktemp("disturbed")
    said = folder / "said"
    with said.open("w") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        run(images, folder, FAULTS, Limits(max_restarts=len(FAULTS)))
    return Done(folder, said.read_text())


def test_every_fault_was_done_and_named(disturbed):
    named = re.findall(r"test-fits: (.*)\. Restarting all workers", disturbed.launcher_said)

    assert named == [
        "worker 1 was killed by signal 9 (SIGKILL)",
        "chief was killed by signal 9 (SIGKILL)",
        "worker 1 was preempted by SIGTERM (exit code 75)",
        "chief was killed by signal 9 (SIGKILL)",
        "worker 1 was killed by signal 9 (SIGKILL)",
        "worker 1 is stopped (SIGSTOP)",
    ]


def test_at_most_one_epoch_is_lost_and_a_preemption_loses_none(disturbed):
    kept = re.findall(r"resumes after epoch (\d+), from .*/(\w+)\n", disturbed.log("chief"))

    assert [int(epochs) for epochs, fit in kept if fit == "head"] == [
        1,
        2,
        4,
        EPOCHS,
        EPOCHS,
        EPOCHS,
    ]
    assert [int(epochs) for epochs, fit in kept if fit == "top"] == [1, 2, 3]


@pytest.mark.parametrize("fit", ["head", "top"])
def test_in_the_end_the_weights_are_those_of_an_undisturbed_run(undisturbed, disturbed, fit):
    expected, found = undisturbed.weights(fit), disturbed.weights(fit)

    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert disturbed.history(fit) == undisturbed.history(fit)
    assert len(undisturbed.history(fit)["val_loss"]) == EPOCHS


def test_a_worker_that_never_comes_up_is_named_where_no_launcher_watches(images, tmp_path):
    """As in a cluster: the chief alone, in TensorFlow's silent wait for an hour."""
    mine, others = (f"127.0.0.1:{port}" for port in free_ports(2))
    request = tmp_path / "request.json"
    limits = {"start_secs": 3}
    values = {"folder": str(tmp_path), "images": str(images), "faults": [], "limits": limits}
    request.write_text(json.dumps(values))

    ended = subprocess.run(
        [*PROGRAM, str(request)],
        cwd=ROOT,
        env={**os.environ, "TF_CONFIG": tf_config([mine, others], 0)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )

    assert ended.returncode == exit_codes.NOT_STARTED
    assert ended.stderr.splitlines()[-1] == (
        f"the workers have not all come up within 3 s: no answer from worker 1 ({others})."
    )


def test_nothing_is_left_behind(undisturbed, disturbed):
    for done in (undisturbed, disturbed):
        assert not (done.folder / "kept").exists()
        assert living(str(done.folder)) == []
