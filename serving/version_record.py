"""What is known of a pushed version: an asset, written once the run is finished."""

import os
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import ThawError
from trainer.records import Record, dumps, read

VERSION_FILE = "version.json"
CARD_FILE = "model_card.md"


@dataclass(frozen=True)
class VersionRecord(Record):
    """Where a version is from, and how good it was.

    Attributes:
      version: its number when it was pushed.
      run_id: of the run that pushed it.
      pushed: when the run was finished, ISO 8601.
      model: `candidate` or `baseline`: the fine-tuned model or the head-only one.
      verdict: the gate's sentence.
      accuracy: on the test images of the run, 0 to 1.
      test_images: how many they were.
      fingerprint: of the images of the run.
      rolled_back: when it was put back into service as a copy, ISO 8601; empty: it is none.
    """

    version: str
    run_id: str
    pushed: str
    model: str
    verdict: str
    accuracy: float
    test_images: int
    fingerprint: str
    rolled_back: str = ""


def record_path(version_dir: str) -> str:
    """The asset that holds the record."""
    return os.path.join(version_dir, "assets", VERSION_FILE)


def read_version(version_dir: Path) -> VersionRecord | None:
    """Reads the record of a local version; None if it has none, or one of another version."""
    path = Path(record_path(str(version_dir)))
    try:
        return read(VersionRecord, path.read_text(encoding="utf-8"), str(path))
    except (OSError, ThawError):
        return None


def to_text(record: VersionRecord) -> str:
    """The record as the asset holds it."""
    return dumps(record, indent=2)
