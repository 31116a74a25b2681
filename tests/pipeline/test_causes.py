"""The sentence that a user reads when a node fails."""

import errno
import functools
import json
import os
import sqlite3
from pathlib import Path

import apache_beam as beam
import pytest
from tfx import v1 as tfx
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.types.standard_artifacts import Model

from components.evaluator.executor import MissingBaseline
from components.example_validator.executor import DataAnomalies
from components.image_example_gen.sources.entry import UnusableDataset
from pipeline import events
from pipeline.local import runner
from pipeline.local.causes import cause
from trainer.errors import ThawError, find_in_text

WORDS = {
    "what": 'no images: it "says" Error: here.\n\n  Traceback (most recent call last): none',
    "where": "photos/ø [while running 'x']",
    "to_do": "Add images,\nor raise data.splits.val. " + "And more. " * 400,
}
MESSAGE = str(UnusableDataset(**WORDS))


def fail(_: int) -> None:
    raise UnusableDataset(**WORDS)


@tfx.dsl.components.component
def Broken(model: tfx.dsl.components.OutputArtifact[Model]):
    with beam.Pipeline(runner="DirectRunner") as pipeline:
        _ = pipeline | beam.Create([1]) | "Write" >> beam.Map(fail)


def test_words_for_the_user_leave_tfx_and_the_nodes_process_whole(tmp_path, monkeypatch):
    run_dir = tmp_path / "logs" / "run"
    run_dir.mkdir(parents=True)
    monkeypatch.setenv(events.EVENTS_FILE, str(run_dir / "events.jsonl"))
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="birds",
        pipeline_root=str(tmp_path / "artifacts"),
        components=[Broken()],
        metadata_connection_config=sqlite_metadata_connection_config(
            str(tmp_path / "metadata.sqlite")
        ),
    )

    code = runner.run_nodes(pipeline, tmp_path, run_dir, functools.partial(str, events.DONE))

    lines = (run_dir / "events.jsonl").read_text().splitlines()
    (failed,) = [line for line in map(json.loads, lines) if line.get("state") == events.FAILED]
    assert code == 1
    assert failed["error"] == MESSAGE
    found = find_in_text(Path(failed["log"]).read_text())
    assert str(found) == MESSAGE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no images [while running 'A/B (1)']", "RuntimeError: no images"),
        ("bad: it says Error: here", "RuntimeError: bad: it says Error: here"),
        ("no images\n\nIt was raised in a worker.", "RuntimeError: no images"),
        ("two lines\n  of advice", "RuntimeError: two lines\n  of advice"),
        (
            "Traceback (most recent call last):\n  File\n\nValueError: first\n\nDuring …\n\n"
            "Traceback (most recent call last):\n  File\na.LastError: no images\n  at all\n",
            "a.LastError: no images\n  at all",
        ),
        (
            "no trial finished. The last one said:\nTraceback (most recent call last):\n  File\n"
            "ValueError: no memory\n",
            "RuntimeError: no trial finished. The last one said:\nValueError: no memory",
        ),
    ],
)
def test_wrapping_is_taken_off_other_errors(text, expected):
    assert cause(RuntimeError(text)) == expected


@pytest.mark.parametrize("kind", [UnusableDataset, DataAnomalies, MissingBaseline])
def test_own_words_of_an_error_stay_as_they_are(kind):
    message = "photos: no images in the val split. Add images, or raise data.splits.val."

    assert cause(kind(message)) == message


def test_error_without_words_is_told_by_its_name():
    assert cause(MemoryError()) == "MemoryError"


def test_very_long_words_are_shown_whole():
    assert cause(ValueError("x" * 10_000)) == "ValueError: " + "x" * 10_000


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/artifacts/x"),
        OSError(errno.EROFS, os.strerror(errno.EROFS), "out/artifacts/x"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_a_folder_that_cannot_be_written_is_told_with_what_to_do(error):
    try:
        raise ThawError("the model was not written") from error
    except ThawError as caught:
        said = cause(caught)

    assert said.startswith("the model was not written\n")
    assert "is full or cannot be written" in said
    assert "Models\n  already pushed are unaffected." in said
    assert "disk is full" not in cause(ValueError("no images"))


def test_failure_is_reported_though_its_log_is_on_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setenv(events.EVENTS_FILE, str(tmp_path / "events.jsonl"))
    (tmp_path / "Node.log").symlink_to("/dev/full")

    def fail() -> str:
        raise ThawError("there is no room.", where="out")

    assert runner.run_forked("Node", tmp_path, fail) == runner.Outcome(
        ok=False, error="out: there is no room."
    )
