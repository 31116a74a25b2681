"""How near fit 2 comes to what the cores can do.

    .venv/bin/python -m benchmarks.fit2 --quick

Images a second of Thaw's fit 2, with tracing, validation and checkpoints, over those of a bare
compiled loop on the same features in memory, with validation and without anything else. Each in a
process of its own, in turn.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import JsonOption, console, machine, report, run_child
from benchmarks.pictures import write_digits
from benchmarks.recipe_data import Recipe, choose_images
from trainer import keys
from trainer.backbones.table import BACKBONES


def main(
    backbone: Annotated[str, typer.Option(help="A key of the table of backbones.")] = (
        "inception_v3"
    ),
    size: Annotated[
        int | None, typer.Option(help="Side of the square images.  [default: the backbone's]")
    ] = None,
    train_images: int = 700,
    val_images: int = 145,
    epochs: int = 4,
    pairs: Annotated[int, typer.Option(help="Runs of each side, in turn.")] = 3,
    quick: Annotated[
        bool, typer.Option(help="MobileNetV2 at 96 px, one pair: under a minute.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Compares the rates. `ratio`: Thaw's images a second over the bare loop's."""
    host = machine()
    if quick:
        backbone, size, pairs = "mobilenet_v2", 96, 1
    size = size or BACKBONES[backbone].default_size_px
    counts = dict(zip(keys.SPLITS, (train_images, val_images, 2), strict=True))
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as folder:
        recipe = Recipe(folder, size, epochs, 32, "float32", "float16", backbone=backbone)
        write_digits(Path(folder) / "digits", sum(counts.values()))
        choose_images(Path(folder) / "digits", recipe.images, counts)
        run_child(["-m", "benchmarks.recipe_data", recipe.to_json()])
        _run("prepare", recipe)
        runs = [{side: _run(side, recipe) for side in ("bare", "thaw")} for _ in range(pairs)]
    ratios = [run["bare"] / run["thaw"] for run in runs]
    images = epochs * train_images
    row = {
        "backbone": backbone,
        "bare images/s": images / statistics.median(run["bare"] for run in runs),
        "thaw images/s": images / statistics.median(run["thaw"] for run in runs),
        "ratio": statistics.median(ratios),
    }
    title = f"fit 2, {epochs} epochs of {train_images} and {val_images} images of {size} px"
    report("fit2", title, [row], {"ratio": row["ratio"], "runs": runs}, host, json)


def _run(side: str, recipe: Recipe) -> float:
    console.print(f"{side}: begun")
    arguments = ["-m", "benchmarks.fit2_side", side, recipe.to_json(), f"{recipe.folder}/fits"]
    result: dict[str, Any] = run_child(arguments).result()
    return float(result["seconds"])


if __name__ == "__main__":
    typer.run(main)
