"""A real disk that is full in the middle of a run: a clear error, the last push as it was."""

import json
import os
import subprocess
import sys

import pytest

from ..conftest import ROOT
from .conftest import OPTIONS

pytestmark = pytest.mark.slow

# Fit 2 keeps 10 MB, twice that while they are replaced; its export takes another 19.
ROOM_BYTES = 25_000_000
OWN_DISKS = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]


@pytest.fixture
def own_disks(tmp_path) -> list[str]:
    """What a command begins with that may mount disks only it sees."""
    trial = [*OWN_DISKS, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if sys.platform != "linux" or subprocess.run(trial, capture_output=True).returncode:
        pytest.skip("a disk of a certain size can be mounted by root, or where user namespaces are")
    return OWN_DISKS


def test_a_full_disk_is_told_and_the_last_push_and_the_fit_are_kept(
    pushed_model, images, output, tmp_path, own_disks
):
    settings = [*OPTIONS, "fits.fine_tune.learning_rate=4e-3", "fits.fine_tune.max_epochs=5"]
    report = tmp_path / "report.json"
    thaw = ["run", "--images", images, "--output", output, *(f"--set={one}" for one in settings)]
    helper = [sys.executable, "-m", "tests.e2e.full_disk", output, report, ROOM_BYTES]

    done = subprocess.run(
        [*own_disks, *map(str, [*helper, *thaw])],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "300", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    assert found["code"] == 1
    assert "FineTuner failed:" in found["printed"]
    assert "is full or cannot be written." in found["printed"]
    assert found["before"] == found["after"]
    assert any(str(pushed_model) in path for path in found["before"])
    assert found["taken_up"].startswith("resumes after epoch 5, from ")
