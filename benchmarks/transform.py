"""Images a second through the Transform node, against a bare decoding loop.

    .venv/bin/python -m benchmarks.transform

The node is timed as `thaw run` runs it, by ML Metadata's own clock: start of its process,
tracing, Beam, the vocabulary's pass, writing. The loop maps the same
`trainer.data.images.decode_and_resize` over the same records on the same cores and writes
nothing; `writing` also writes what Transform writes. Target: a ratio of 0.6 to the loop.

What the node costs however few the images is paid once: `per image` compares what 3/4 of
the images cost on top of the first 1/4.
"""

import json as json_format
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import JsonOption, console, machine, median_of, report, run_child
from benchmarks.pictures import write_photos
from benchmarks.transform_sides import IMAGES

SMALL_PX = (100, 100)
LARGE_PX = (4000, 3000)
_PARTS = ("whole", "quarter")


def main(
    size: Annotated[int, typer.Option(help="Side of the square results.")] = 299,
    small_images: Annotated[
        int, typer.Option(help="JPEGs of 100×100 pixels to make. 0: none.")
    ] = 8000,
    large_images: Annotated[
        int, typer.Option(help="JPEGs of 12 megapixels to make. 0: none.")
    ] = 400,
    images: Annotated[
        Path | None, typer.Option(help="Folder of class folders, instead of made ones.")
    ] = None,
    pairs: Annotated[int, typer.Option(help="Runs of the node and the loops, in turn.")] = 1,
    quarter: Annotated[
        bool, typer.Option(help="Also run on a quarter of the images, for `per image`.")
    ] = True,
    json: JsonOption = None,
) -> None:
    """Times Transform and a bare decoding loop on small and on large photographs."""
    host = machine()
    runs: list[dict[str, Any]] = []
    kinds = {"100 px": (small_images, SMALL_PX), "12 megapixels": (large_images, LARGE_PX)}
    if images is not None:
        runs += _measure(images.name, images, size, pairs, quarter)
    else:
        for kind, (count, (width, height)) in kinds.items():
            if count:
                with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as folder:
                    write_photos(Path(folder), count, width, height)
                    runs += _measure(kind, Path(folder), size, pairs, quarter)
    rows = [
        summarize(kind, [run for run in runs if run["kind"] == kind])
        for kind in dict.fromkeys(run["kind"] for run in runs)
    ]
    report("transform", f"Images a second, to {size} px", rows, {"runs": runs}, host, json)


def _measure(kind: str, source: Path, size: int, pairs: int, quarter: bool) -> list[dict[str, Any]]:
    files = sorted(path for path in source.glob("*/*") if not path.name.startswith("."))
    parts = dict(zip(_PARTS, (files, files[::4]), strict=True))
    if not quarter:
        del parts["quarter"]
    return [
        {
            "kind": kind,
            **{part: _run(source, some, size, f"{kind}, {part}") for part, some in parts.items()},
        }
        for _ in range(pairs)
    ]


def _run(source: Path, files: list[Path], size: int, what: str) -> dict[str, Any]:
    """Runs the node, then both loops, on some of a folder's images."""
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-", dir=source.parent) as folder:
        for path in files:
            target = Path(folder) / IMAGES / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(path, target)
        arguments = {"folder": folder, "size_px": size}
        sides: dict[str, Any] = {}
        for side in ("node", "loop", "writing"):
            child = run_child(
                ["-m", "benchmarks.transform_sides", side, json_format.dumps(arguments)]
            )
            sides[side] = {**child.result(), "peak_bytes": child.peak_bytes}
            arguments["examples"] = sides["node"]["examples"]
            rate = sides[side]["images"] / sides[side]["seconds"]
            console.print(f"{what}, {side}: {rate:.1f} images/s")
        return sides


def _link(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copy(path, target)


def summarize(kind: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table: medians over the runs of one kind of images."""

    def rate(side: str) -> float:
        return median_of(runs, f"whole.{side}.images") / median_of(runs, f"whole.{side}.seconds")

    return {
        "images": f"{median_of(runs, 'whole.node.images'):,.0f} of {kind}",
        "node": rate("node"),
        "loop": rate("loop"),
        "writing": rate("writing"),
        "node / loop": rate("node") / rate("loop"),
        "node / writing": rate("node") / rate("writing"),
        "per image": marginal_ratio(runs) if "quarter" in runs[0] else None,
        "node GiB": median_of(runs, "whole.node.peak_bytes") / 2**30,
    }


def marginal_ratio(runs: list[dict[str, Any]]) -> float:
    """Loop's over node's seconds, for the images that the whole has and the quarter has not."""

    def seconds(side: str) -> float:
        whole, quarter = (median_of(runs, f"{part}.{side}.seconds") for part in _PARTS)
        return whole - quarter

    return seconds("loop") / seconds("node")


if __name__ == "__main__":
    typer.run(main)
