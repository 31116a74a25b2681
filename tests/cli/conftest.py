"""A run without TensorFlow: a small child stands in for the one that runs the nodes."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from processes import is_alive

from tests.pipeline.hand_made import a_run

ROOT = Path(__file__).parents[2]


def _finished_run() -> str:
    """`run.json` of a run that raised the accuracy from 50 % to 75 %."""
    run = a_run()
    run["metrics"]["baseline"]["accuracy"] = 0.5
    run["metrics"]["candidate"]["accuracy"] = 0.75
    run["model"]["path"] = "/models/thaw/7"
    return json.dumps(run)


CHILD = (
    f"RUN = {_finished_run()!r}\n"
    + """
import json, os, signal, subprocess, sys, time
from pathlib import Path
output, run_dir = Path(sys.argv[1]), Path(sys.argv[2])
def tell(**event):
    with open(run_dir / "events.jsonl", "a") as file:
        file.write(json.dumps(event) + "\\n")
def node(name, state, **more):
    tell(event="node", node=name, state=state, time=time.time(), **more)
def finish(blessed, agrees=True):
    run = json.loads(RUN)
    run["verdict"].update(blessed=blessed, pushed=blessed and agrees, reasons=["Accuracy rose."])
    if not run["verdict"]["pushed"]:
        run["model"] = None
    (output / "run.json").write_text(json.dumps(run))
    tell(event="end", ok=True)
print("chatter of a library")
tell(event="plan", nodes=["Gen", "Fit"], time=time.time())
"""
)

# `thaw`, but for the command that it starts.
DRIVER = """
import sys
from pipeline.cli import main
from pipeline.local import supervisor
child = sys.argv.pop(1)
supervisor.local_command = lambda files, output, inspection: [
    sys.executable, child, str(output), str(files.directory)]
main.main()
"""


@pytest.fixture
def images(tmp_path) -> Path:
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / label / "1.png")
    return tmp_path / "images"


@pytest.fixture
def thaw_run(tmp_path, images) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `thaw run` with a child that ends with the given code; its output is `out`."""
    started = []

    def start(body: str, *options: str) -> subprocess.Popen[str]:
        child, driver = tmp_path / "child.py", tmp_path / "driver.py"
        child.write_text(CHILD + textwrap.dedent(body))
        driver.write_text(DRIVER)
        arguments = ["run", "--images", images, "--output", tmp_path / "out"]
        process = subprocess.Popen(
            [sys.executable, driver, child, *arguments, "-s", "backbone.weights=random", *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    for pid_file in tmp_path.glob("pid.*"):
        if is_alive(int(pid_file.read_text())):
            os.kill(int(pid_file.read_text()), 9)
