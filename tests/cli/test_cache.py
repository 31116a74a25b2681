"""`thaw cache`: what the trunk store of an output folder holds, and what is removed of it."""

import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.trunk_features.store.trunks import TrunkAbout, write_about
from components.trunk_features.store.writing import SegmentWriter
from pipeline.cli.main import app
from trainer.specs import TrunkSpec

A_DAY = 86_400.0


@pytest.fixture
def output(tmp_path) -> Path:
    """An output folder with a store of two trunks, a day old."""
    for boundary, count in [("mixed8", 3), ("mixed7", 2)]:
        about = TrunkAbout(
            TrunkSpec("inception_v3", 299, boundary, "float16", "float32"), "ab" * 32
        )
        folder = str(tmp_path / "trunk_store" / about.fingerprint)
        write_about(about, folder)
        writer = SegmentWriter(folder)
        for number in range(count):
            writer.add(bytes([number]) * 32, b"x" * 10_000_000)
        writer.finish()
    for path in tmp_path.rglob("*"):
        os.utime(path, (time.time() - A_DAY,) * 2)
    return tmp_path


def thaw(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["cache", *map(str, words)])
    return done.exit_code, done.output


def test_trunks_are_listed_with_their_images_and_size(output):
    code, printed = thaw(output)

    lines = [line.split() for line in printed.splitlines()]
    assert code == 0
    assert lines[0] == ["BACKBONE", "BOUNDARY", "KEPT", "AS", "WEIGHTS", "IMAGES", "GB", "USED"]
    assert lines[1][:7] == ["inception_v3", "299", "px", "mixed8", "float16", "abababababab", "3"]
    assert lines[2][:7] == ["inception_v3", "299", "px", "mixed7", "float16", "abababababab", "2"]
    assert printed.splitlines()[-1] == f"5 images, 0.05 GB in {output / 'trunk_store'}"


def test_pruning_removes_what_was_used_longest_ago(output):
    newest = next((output / "trunk_store").rglob("*.index"))
    os.utime(newest, (time.time() - A_DAY / 2,) * 2)
    kept = 3 if newest.with_name(newest.name[:32] + ".tensors").stat().st_size > 25e6 else 2

    assert "removed 0 images" in thaw(output, "--prune")[1]
    code, printed = thaw(output, "--prune", "--max-gb", "0.035")

    assert code == 0
    assert f"removed {5 - kept} images, 0.0{5 - kept} GB" in printed
    assert f"\n{kept} images" in printed


def test_an_empty_store_and_wrong_places_are_said(tmp_path):
    (tmp_path / "artifacts").mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()

    assert thaw(empty) == (0, f"{empty}: the store is empty\n")
    assert thaw(tmp_path)[0] == 2
    assert "its runs have kept nothing" in thaw(tmp_path)[1]
    assert "there is no such folder" in thaw(tmp_path / "nowhere")[1]
    assert "without --prune" in thaw(empty, "--max-gb", "1")[1]
