"""What a run costs besides its work: seconds that are not decoding, trunk or fits.

    .venv/bin/python -m benchmarks.shell

Runs `thaw run` once, whole, and takes off its wall time what the work itself takes:
decoding every image once (a bare loop), the trunk over all images and the blocks above it
over those of training and validation (their warm rate, measured right after, times the
images), and the fits (as they time themselves). What remains is the shell: imports,
Beam, building and exporting models, evaluation, metadata, the report. Target: under 60
seconds on 400 images.
"""

import json as json_format
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import JsonOption, console, machine, report, run_child
from benchmarks.pictures import write_digits
from benchmarks.thaw_run import run_settings, thaw_run
from trainer import keys

BETWEEN = "start and between"


def main(
    count: Annotated[int, typer.Option(help="Images.")] = 400,
    size: Annotated[int, typer.Option(help="Side of the square images.")] = 299,
    epochs: Annotated[int, typer.Option(help="Of each fit.")] = 5,
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of class folders.  [default: scikit-learn's digits]"),
    ] = None,
    weights: Annotated[str, typer.Option(help="random, imagenet or a file.")] = "random",
    json: JsonOption = None,
) -> None:
    """Times a whole run and says, node by node, what is not decoding, trunk or fits."""
    host = machine()
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as folder:
        if images is None:
            images = Path(folder) / "digits"
            write_digits(images, count)
        settings = [*run_settings(size, epochs, weights), f"precision={precision}"]
        child, results = thaw_run(images, Path(folder) / "output", settings)
        work = _measure_work(results, size, precision)
    rows = break_down(results["nodes"], child.seconds, work)
    report(
        "shell",
        f"Seconds of a run, {size} px, {precision}",
        rows,
        {"work": work, "peak_bytes": child.peak_bytes, "nodes": results["nodes"]},
        host,
        json,
    )


def break_down(
    nodes: list[dict[str, Any]], seconds: float, work: dict[str, float]
) -> list[dict[str, Any]]:
    """One line a node, one for what lies between them, one for all.

    Args:
      nodes: `name` and `seconds` of each.
      seconds: of the whole run.
      work: node -> seconds of its work proper.
    """
    spent = {node["name"]: node["seconds"] for node in nodes}
    spent[BETWEEN] = seconds - sum(spent.values())
    rows = [
        {
            "node": name,
            "seconds": float(total),
            "work": float(work.get(name, 0.0)),
            "shell": float(total - work.get(name, 0.0)),
        }
        for name, total in spent.items()
    ]
    sums = {key: sum(row[key] for row in rows) for key in ("seconds", "work", "shell")}
    return [*rows, {"node": "all", **sums}]


def _measure_work(results: dict[str, Any], size: int, precision: str) -> dict[str, float]:
    """Node -> seconds that its work proper takes."""
    counts = {split: sum(by.values()) for split, by in results["data"]["counts"].items()}
    fitted = counts[keys.TRAIN] + counts[keys.VAL]
    (examples,) = [n for n in results["nodes"] if n["name"] == "ImageExampleGen"]
    uri = examples["outputs"]["examples"][0]["uri"]
    arguments = json_format.dumps({"folder": "", "size_px": size, "examples": uri})
    loop = run_child(["-m", "benchmarks.transform_sides", "loop", arguments]).result()
    rates = trunk_rates(size, precision)
    fits = {name: fit["seconds"] for name, fit in results["fits"].items()}
    console.print(f"trunk {rates['trunk']:.1f} images/s, above it {rates['above']:.1f} images/s")
    return {
        "Transform": loop["seconds"],
        "TrunkFeatures": sum(counts.values()) / rates["trunk"],
        "HeadTrainer": fitted / rates["above"] + fits["head"],
        "FineTuner": fits["fine_tune"],
    }


def trunk_rates(size: int, precision: str, repeats: int = 5) -> dict[str, float]:
    """Images a second through the trunk and through the blocks above it, once warm."""
    import tensorflow as tf

    from trainer.backbones.networks import load_backbone, top_blocks_of
    from trainer.model.precision import layers_compute_in
    from trainer.model.trunk import Trunk
    from trainer.specs import TrunkSpec

    batch_size = 32
    spec = TrunkSpec("inception_v3", size, "mixed8", "float16", precision)
    trunk = Trunk(spec)
    with layers_compute_in(precision):
        top = top_blocks_of(load_backbone(spec.backbone, size, "random"), spec.layer)
    above = tf.function(lambda inputs: top(inputs, training=False))
    pixels = tf.zeros([batch_size, size, size, 3], tf.uint8)
    found = tf.cast(trunk(pixels), tf.float32)
    return {
        "trunk": batch_size / _median_seconds(lambda: trunk(pixels).numpy(), repeats),
        "above": batch_size / _median_seconds(lambda: above(found).numpy(), repeats),
    }


def _median_seconds(work: Callable[[], Any], repeats: int) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        started = time.monotonic()
        work()
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    typer.run(main)
