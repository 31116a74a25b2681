"""The sentence that a user reads when a node fails."""

import errno
import os
import sqlite3

import apache_beam as beam
import pytest

from components.evaluator.executor import MissingBaseline
from components.example_validator.executor import DataAnomalies
from components.image_example_gen.folder import UnusableImages
from pipeline.local.runner import cause

MESSAGE = "photos: no images in the val split. Add images."


def fail_in_beam() -> None:
    def fail(_: int) -> None:
        raise UnusableImages(MESSAGE)

    with beam.Pipeline(runner="DirectRunner") as pipeline:
        _ = pipeline | beam.Create([1]) | "Write" >> beam.Map(fail)


def test_cause_of_a_beam_pipelines_failure_is_the_errors_own_words():
    with pytest.raises(Exception, match="no images") as caught:
        fail_in_beam()

    assert "Write" in str(caught.value)  # there is something to take away
    assert cause(caught.value) == MESSAGE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RuntimeError: ValueError: no images [while running 'A/B (1)']", "no images"),
        ("components.x.UnusableImages: no images", "no images"),
        ("bad: it says Error: here", "bad: it says Error: here"),
        ("no images\nTraceback (most recent call last):\n  File", "no images"),
        ("no images\n\nIt was raised in a worker.", "no images"),
        ("two lines\n  of advice", "two lines\n  of advice"),
    ],
)
def test_wrapping_is_taken_off(text, expected):
    assert cause(RuntimeError(text)) == expected


@pytest.mark.parametrize("kind", [UnusableImages, DataAnomalies, MissingBaseline, ValueError])
def test_own_words_of_an_error_stay_as_they_are(kind):
    message = "photos: no images in the val split. Add images, or raise data.splits.val."

    assert cause(kind(message)) == message
    assert cause(RuntimeError(f"{kind.__module__}.{kind.__name__}: {message}")) == message


def test_error_without_words_is_told_by_its_name():
    assert cause(MemoryError()) == "MemoryError"


def test_very_long_words_are_cut():
    assert len(cause(ValueError("x" * 10_000))) == 1500


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
        raise RuntimeError("the model was not written") from error
    except RuntimeError as caught:
        said = cause(caught)

    assert said.startswith("the model was not written\n")
    assert "is full or cannot be written" in said
    assert "Models\n  already pushed are unaffected." in said
    assert "disk is full" not in cause(ValueError("no images"))
