"""One output folder that real `thaw run`s share: a push, a repetition, a refusal."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..conftest import IMAGENET_WEIGHTS, ROOT, SIGN_LANGUAGE

CLASSES = 3
PER_CLASS = 30

# A head that has hardly learned leaves fit 2 something to gain, whatever the seed.
OPTIONS = (
    "name=hands",
    # Builds and traces in half the time of the default, which `test_tuning.py` runs.
    "backbone.name=mobilenet_v2",
    f"backbone.weights={IMAGENET_WEIGHTS if IMAGENET_WEIGHTS.is_file() else 'random'}",
    "backbone.image_size_px=75",
    "head.units=64",
    "fits.head.max_epochs=1",
    "fits.head.learning_rate=1e-4",
    "fits.fine_tune.max_epochs=10",
    # As many images to judge by as to learn from: chance must not decide what these tests see.
    "data.splits.train=55",
    "data.splits.test=60",
    "train.global_batch_size=8",
    # Few hands in few poses: groups of them would make the splits uneven.
    "data.near_duplicates=ignore",
    # From random weights fit 2 learns too little in ten epochs to be beyond chance.
    *(() if IMAGENET_WEIGHTS.is_file() else ("gate.alpha=0.5", "gate.max_class_loss=1")),
)
GOOD = "fits.fine_tune.learning_rate=1e-3"
# What costs least to convert, and what is most unlike the model.
EXPORTING = "export.formats=[onnx, tflite_int8]", "export.int8_max_loss=100"
HARMFUL = "fits.fine_tune.learning_rate=10"


@dataclass(frozen=True)
class Run:
    """One finished `thaw run`: exit code, everything printed, `run.json`, and its states."""

    code: int
    printed: str
    results: dict[str, Any]
    states: dict[str, str]


def thaw(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "300", "NO_COLOR": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def states(output: Path) -> dict[str, str]:
    latest = max((output / "logs").iterdir(), key=lambda path: path.stat().st_mtime)
    events = [json.loads(line) for line in (latest / "events.jsonl").read_text().splitlines()]
    return {event["node"]: event["state"] for event in events if event["event"] == "node"}


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """A few classes of photographs of hands or, where there are none, of scanned digits;
    among them a text file that calls itself a JPEG."""
    folder = tmp_path_factory.mktemp("images")
    if SIGN_LANGUAGE.is_dir():
        source = SIGN_LANGUAGE
    else:
        source = tmp_path_factory.mktemp("digits") / "all"
        assert thaw("sample-images", source, "--per-class", PER_CLASS).returncode == 0
    for label in sorted(path for path in source.iterdir() if path.is_dir())[:CLASSES]:
        (folder / label.name).mkdir()
        for image in sorted(label.iterdir())[:PER_CLASS]:
            (folder / label.name / image.name).write_bytes(image.read_bytes())
    (folder / "0" / "broken.jpg").write_text("not an image")
    return folder


@pytest.fixture(scope="session")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("run") / "output"


@pytest.fixture(scope="session")
def run_thaw(images, output):
    def run(*options: str, flags: tuple[str, ...] = ()) -> Run:
        settings = [f"--set={option}" for option in options]
        done = thaw("run", "--images", images, "--output", output, *settings, *flags)
        assert (output / "run.json").exists(), done.stdout
        results = json.loads((output / "run.json").read_text())
        return Run(done.returncode, done.stdout, results, states(output))

    return run


@pytest.fixture(scope="session")
def good_run(run_thaw) -> Run:
    return run_thaw(*OPTIONS, GOOD, *EXPORTING, flags=("--require-blessing",))


@pytest.fixture(scope="session")
def pushed_model(good_run) -> Path:
    assert good_run.results["model"], good_run.printed
    return Path(good_run.results["model"]["path"])


@pytest.fixture(scope="session")
def repeated_run(good_run, pushed_model, run_thaw, output) -> tuple[Run, list[tuple[str, float]]]:
    """The same command again, with other options for Beam; and what it found."""
    before = modified(output)
    other_way = "beam.options=[--direct_num_workers=2, --direct_running_mode=multi_threading]"
    settings = (*OPTIONS, GOOD, *EXPORTING, other_way)
    return run_thaw(*settings, flags=("--require-blessing",)), before


@pytest.fixture(scope="session")
def harmful_run(repeated_run, run_thaw) -> Run:
    return run_thaw(*OPTIONS, HARMFUL, flags=("--require-blessing",))


def modified(output: Path) -> list[tuple[str, float]]:
    """Every file of artifacts, pushes and results with its time, logs apart."""
    kept = [
        path
        for name in ("artifacts", "serving", "exports", "samples", "run.json", "report.html")
        for path in [output / name, *(output / name).rglob("*")]
    ]
    return sorted((str(path), path.stat().st_mtime) for path in kept if path.is_file())
