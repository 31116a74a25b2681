"""Time and memory of whole runs as the number of images grows.

    .venv/bin/python -m benchmarks.scale

Targets: seconds on a straight line over the number of images; peak memory of all
processes of a run that grows by less than 15 % from 500 images to 2,000.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.common import JsonOption, console, machine, report
from benchmarks.pictures import write_digits
from benchmarks.thaw_run import run_settings, thaw_run

_GROWTH_FROM = 500


def main(
    sizes: Annotated[
        list[int] | None,
        typer.Option(help="Number of images; may be repeated.  [default: 250, 500, 1000, 2000]"),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the square images.")] = 75,
    epochs: Annotated[int, typer.Option(help="Of each fit.")] = 1,
    weights: Annotated[str, typer.Option(help="random, imagenet or a file.")] = "random",
    json: JsonOption = None,
) -> None:
    """Runs `thaw run` on more and more images: is time linear, is memory flat?"""
    host = machine()
    runs = [_run(count, size, epochs, weights) for count in sizes or (250, 500, 1000, 2000)]
    rows = [{key: run[key] for key in ("images", "seconds", "peak GiB")} for run in runs]
    summary = summarize(rows)
    report(
        "scale",
        f"Whole runs at {size} px, {epochs} epochs a fit",
        rows,
        {"summary": summary, "runs": runs},
        host,
        json,
    )
    for name, value in summary.items():
        console.print(f"{name}: {'–' if value is None else f'{value:.4f}'}")


def _run(count: int, size: int, epochs: int, weights: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as folder:
        images = Path(folder) / "images"
        write_digits(images, count)
        child, results = thaw_run(
            images, Path(folder) / "output", run_settings(size, epochs, weights)
        )
    console.print(f"{count} images: {child.seconds:.1f} s")
    return {
        "images": count,
        "seconds": child.seconds,
        "peak GiB": child.peak_bytes / 2**30,
        "nodes": {node["name"]: node["seconds"] for node in results["nodes"]},
    }


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """The straight line through seconds over images, and how much memory grows."""
    images = np.array([row["images"] for row in rows], float)
    seconds = np.array([row["seconds"] for row in rows], float)
    if len(rows) < 2:
        return {"seconds an image": None, "fixed seconds": None, "r squared": None, "growth": None}
    slope, fixed = np.polyfit(images, seconds, 1)
    off_line = np.sum((seconds - (fixed + slope * images)) ** 2)
    spread = np.sum((seconds - seconds.mean()) ** 2)
    large = [row for row in rows if row["images"] >= _GROWTH_FROM] or rows
    first, last = (pick(large, key=lambda row: row["images"])["peak GiB"] for pick in (min, max))
    return {
        "seconds an image": float(slope),
        "fixed seconds": float(fixed),
        "r squared": float(1 - off_line / spread) if spread else 1.0,
        "growth": last / first - 1,
    }


if __name__ == "__main__":
    typer.run(main)
