"""What one more image costs each node: processor seconds and bytes. For benchmarks/plan.py.

    .venv/bin/python -m benchmarks.per_image

Runs the nodes twice, on fewer and on more photos, and divides the difference by the
images that a node has more to do with: what a node costs however few the images falls out.
The fits run a third time, for more epochs, to tell an epoch from what comes before it.
Processor seconds are of all of a node's processes; on a machine that does other things too
they say more than the clock.
"""

import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import JsonOption, machine, report
from benchmarks.pictures import write_photos
from benchmarks.thaw_run import run_settings
from trainer import keys

SPLITS = {"train": 50, "val": 20, "test": 30}
FITS = ("HeadTrainer", "FineTuner")
LAST = "Evaluator"


def main(
    fewer: Annotated[int, typer.Option(help="Images of the first run.")] = 100,
    more: Annotated[int, typer.Option(help="Images of the second.")] = 300,
    size: Annotated[int, typer.Option(help="Side of the square images.")] = 299,
    epochs: Annotated[int, typer.Option(help="Further epochs of each fit in the third.")] = 3,
    weights: Annotated[str, typer.Option(help="random, imagenet or a file.")] = "random",
    json: JsonOption = None,
) -> None:
    """Measures what an image costs, node by node."""
    host = machine()
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as folder:
        runs = []
        for count, of_fit in ((fewer, 1), (more, 1), (more, 1 + epochs)):
            images = Path(folder) / f"images-{count}"
            if not images.exists():
                write_photos(images, count, 500, 375)
            runs.append(_run(images, Path(folder) / f"output-{count}", size, of_fit, weights))
    rows = per_image(*runs, epochs)
    title = f"An image of {size} px, photos of 500×375"
    report("per_image", title, rows, {"runs": runs}, host, json)


def _run(images: Path, output: Path, size: int, epochs: int, weights: str) -> dict[str, Any]:
    """One pipeline's nodes up to the Evaluator: CPU and wall seconds, images, bytes."""
    from pipeline import events
    from pipeline.config.load import load_config
    from pipeline.dag import local_pipeline
    from pipeline.local import runner
    from trainer.data.card import read_card

    shares = [f"data.splits.{name}={share}" for name, share in SPLITS.items()]
    config = load_config(None, [*run_settings(size, epochs, weights), *shares], str(images))
    run_dir = output / "logs" / f"{epochs}"
    run_dir.mkdir(parents=True)
    os.environ[events.EVENTS_FILE] = str(run_dir / "events.jsonl")
    ir = runner.compile_pipeline(local_pipeline(config, str(images), str(output)), run_dir.name)
    nodes = {}
    for name in [node.pipeline_node.node_info.id for node in ir.nodes]:
        before, started = _cpu_of_children(), time.monotonic()
        outcome = runner.run_forked(name, run_dir, runner._launch, ir, name)
        if not outcome.ok:
            raise SystemExit(f"{name}: {outcome.error}")
        wall = time.monotonic() - started
        nodes[name] = {"cpu": _cpu_of_children() - before, "wall": wall, **vars(outcome)}
        if name == LAST:
            break
    artifacts = output / "artifacts"
    (ingested,) = (artifacts / "ImageExampleGen" / "examples").iterdir()
    card = read_card(str(ingested))
    return {
        "images": {split: card.num_examples(split) for split in keys.SPLITS},
        "nodes": nodes,
        "bytes": {
            "files": _bytes(images),
            "ImageExampleGen": _bytes(ingested),
            "Transform": _bytes(artifacts / "Transform" / "transformed_examples"),
            "TrunkFeatures": _bytes(artifacts / "TrunkFeatures" / "features"),
            LAST: _bytes(artifacts / LAST / "evaluation"),
        },
    }


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def per_image(
    fewer: dict[str, Any], more: dict[str, Any], longer: dict[str, Any], epochs: int
) -> list[dict[str, Any]]:
    """Figures of one image from three runs.

    Args:
      fewer: of the first.
      more: of the second.
      longer: of the third, whose fits ran so many epochs more than the second's.
      epochs: so many.

    Returns:
      For each node the seconds of an image that it handles, and the bytes it leaves of one;
      for an epoch of a fit the seconds of a training image, validation included.
    """
    further = {split: more["images"][split] - fewer["images"][split] for split in keys.SPLITS}
    rows = []
    for name, node in more["nodes"].items():
        images = sum(further[split] for split in handled_by(name))
        row = {"step": name, "CPU s": (node["cpu"] - fewer["nodes"][name]["cpu"]) / images}
        left = more["bytes"].get(name)
        gained = left - fewer["bytes"][name] if left is not None else None
        rows.append({**row, "kB left": gained / images / 1e3 if gained is not None else None})
    for name in FITS:
        images = epochs * more["images"][keys.TRAIN]
        cpu = longer["nodes"][name]["cpu"] - more["nodes"][name]["cpu"]
        rows.append({"step": f"{name}, an epoch", "CPU s": cpu / images, "kB left": None})
    file = (more["bytes"]["files"] - fewer["bytes"]["files"]) / sum(further.values())
    return [*rows, {"step": "the file itself", "CPU s": 0.0, "kB left": file / 1e3}]


def handled_by(node: str) -> Sequence[str]:
    """Splits that a node's time is about."""
    if node == LAST:
        return (keys.TEST,)
    return (keys.TRAIN, keys.VAL) if node in FITS else keys.SPLITS


if __name__ == "__main__":
    typer.run(main)
