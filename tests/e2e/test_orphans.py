"""`thaw run` alone is killed in three nodes, and started again at once each time."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from trainer.earlier_head import WEIGHTS_FILE

from ..conftest import ROOT
from ..h5_files import assert_same
from .conftest import GOOD, OPTIONS
from .test_run import NODES, artifact

pytestmark = pytest.mark.slow

KILLED_IN = ("Transform", "HeadTrainer", "FineTuner")
_WAIT_SECS = 300


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli.main", *arguments],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def wait_until_at_work(output: Path, node: str, process: subprocess.Popen[bytes]) -> None:
    """Waits until a node of the newest run has reported progress."""
    until = time.monotonic() + _WAIT_SECS
    while time.monotonic() < until:
        assert process.poll() is None, f"the run ended before {node}"
        logs = sorted((output / "logs").glob("*/events.jsonl"), key=os.path.getmtime)
        lines = logs[-1].read_text().splitlines() if logs else []
        events = [json.loads(line) for line in lines]
        if any(event.get("node") == node and event["event"] == "progress" for event in events):
            return
        if node == "Transform" and any(event.get("node") == node for event in events):
            return
        time.sleep(0.1)
    raise AssertionError(f"{node} did not begin in {_WAIT_SECS} s")


@pytest.fixture(scope="module")
def killed(good_run, images, tmp_path_factory) -> tuple[Path, str]:
    """An output folder whose run was killed three times, and what the last one printed."""
    output = tmp_path_factory.mktemp("orphans") / "output"
    log = output.with_name("printed")
    settings = [f"--set={option}" for option in (*OPTIONS, GOOD)]
    arguments = ["run", "--images", str(images), "--output", str(output), *settings]
    for node in KILLED_IN:
        process = start(arguments, log)
        wait_until_at_work(output, node, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    log.unlink()
    code = start(arguments, log).wait()
    assert code == 0, log.read_text()
    return output, log.read_text()


def test_one_version_is_pushed(killed):
    output, printed = killed

    assert [path.name for path in (output / "serving" / "hands").iterdir()] == ["1"]
    assert "Blessed" in printed


def test_each_node_has_finished_once(killed):
    output, _ = killed
    connection = metadata.sqlite_metadata_connection_config(str(output / "metadata.sqlite"))

    with metadata.Metadata(connection) as handle:
        finished = Counter(
            next(
                context.name.split(".", 1)[1]
                for context in handle.store.get_contexts_by_execution(execution.id)
                if context.type == "node"
            )
            for execution in handle.store.get_executions()
            if execution.last_known_state == metadata_store_pb2.Execution.State.COMPLETE
        )

    assert finished == dict.fromkeys(NODES, 1)


def test_weights_are_those_of_a_run_that_was_left_alone(killed, good_run):
    output, _ = killed
    (again,) = output.glob(f"artifacts/FineTuner/model/*/{WEIGHTS_FILE}")
    undisturbed = artifact(good_run, "FineTuner", "model") / WEIGHTS_FILE

    assert_same(undisturbed, again)
