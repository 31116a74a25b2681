"""Seconds and memory that it takes to list very many files, before any of them is read.

    .venv/bin/python -m benchmarks.listing

Makes a folder of empty files in ten classes and lists it as a run does: for the fingerprint that
decides whether anything has changed, for the number of files, and for the files themselves.
Targets for a million files: 2 minutes and 1 GB.
"""

import json as json_format
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import JsonOption, console, machine, report, run_child

_CLASSES = 10
_CHILD = "benchmarks.listing_side"


def main(
    files: Annotated[int, typer.Option(help="Number of empty files to make.")] = 1_000_000,
    quick: Annotated[bool, typer.Option("--quick", help="Ten thousand files.")] = False,
    json: JsonOption = None,
) -> None:
    """Lists a folder of many empty files as a run does."""
    host = machine()
    count = 10_000 if quick else files
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as folder:
        _make(Path(folder), count)
        child = run_child(["-m", _CHILD, folder])
    row: dict[str, Any] = {
        "files": count,
        **child.result(),
        "seconds": child.seconds,
        "peak GiB": child.peak_bytes / 2**30,
    }
    report("listing", "Listing", [row], {"row": row}, host, json)


def _make(folder: Path, count: int) -> None:
    started = time.monotonic()
    for label in range(_CLASSES):
        (folder / f"class {label}").mkdir()
    for number in range(count):
        (folder / f"class {number % _CLASSES}" / f"{number:08d}.jpg").touch()
    console.print(f"{count:,} files made in {time.monotonic() - started:.0f} s")


def list_all(folder: str) -> dict[str, float]:
    """Seconds of each of the three listings."""
    from components.image_example_gen.driver import fingerprint
    from components.image_example_gen.sources.find import find_source

    source = find_source(folder)
    seconds = {}
    for name, work in {
        "fingerprint s": lambda: fingerprint(folder),
        "count s": source.check,
        "entries s": lambda: sum(1 for _ in source.entries()),
    }.items():
        started = time.monotonic()
        work()
        seconds[name] = time.monotonic() - started
    return seconds


def print_json(folder: str) -> None:
    """What the child of the benchmark does."""
    print(json_format.dumps(list_all(folder)))


if __name__ == "__main__":
    typer.run(main)
