"""How much faster Thaw's two fits are than the same recipe written plainly.

    .venv/bin/python -m benchmarks.recipe --epochs 5 --epochs 10 --epochs 30

The plain side is `benchmarks.recipe_plain`, the recipe as Keras documents it. Thaw's side
is `benchmarks.recipe_thaw`: the trunk pass, both fits and their exports. The same images
in the same splits, the same first weights of the backbone, the same number of epochs;
each side a process of its own, in turn, its start and imports included.

The plain recipe decodes every image in every epoch; Thaw's fits start from what Transform
decoded once. So there is a stricter ratio, with the seconds of decoding and writing all
images once on Thaw's side.
"""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import JsonOption, console, machine, median_of, report, run_child
from benchmarks.pictures import write_digits
from benchmarks.recipe_data import Recipe, choose_images
from trainer import keys


def main(
    epochs: Annotated[
        list[int] | None,
        typer.Option(help="Of each fit; may be repeated.  [default: 5, 10 and 30]"),
    ] = None,
    pairs: Annotated[int, typer.Option(help="Runs of each side, in turn.")] = 1,
    size: Annotated[int, typer.Option(help="Side of the square images.")] = 299,
    train_images: int = 200,
    val_images: int = 50,
    test_images: int = 50,
    batch_size: int = 32,
    precision: Annotated[
        str, typer.Option(help="What Thaw's layers compute in: float32 or bfloat16.")
    ] = "float32",
    plain_precision: Annotated[
        str, typer.Option(help="What the plain recipe's layers compute in.")
    ] = "float32",
    dtype: Annotated[str, typer.Option(help="What Thaw keeps the trunk's output in.")] = "float16",
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of class folders.  [default: scikit-learn's digits]"),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="InceptionV3's, without top (.h5).  [default: random, calibrated]"),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Times both fits of the recipe, written plainly and by Thaw, on the same images.

    Ratios above 1 say that Thaw is faster. `strict`: decoding all images once counts
    for Thaw too. `work`: without imports, building and exporting models. `cpu`: processor
    time in place of wall time, everything included.
    """
    host = machine()
    counts = dict(zip(keys.SPLITS, (train_images, val_images, test_images), strict=True))
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as folder:
        recipe = Recipe(folder, size, 0, batch_size, precision, dtype)
        decode = _prepare(recipe, images, weights, counts)
        runs = [
            run
            for number in epochs or (5, 10, 30)
            for run in _run_pairs(
                {
                    "plain": dataclasses.replace(recipe, epochs=number, precision=plain_precision),
                    "thaw": dataclasses.replace(recipe, epochs=number),
                },
                pairs,
                decode,
            )
        ]
    report(
        "recipe",
        f"{train_images} training images of {size} px, plain in {plain_precision}, "
        f"Thaw in {precision}, cold start included",
        [
            summarize(number, [run for run in runs if run["epochs"] == number])
            for number in dict.fromkeys(run["epochs"] for run in runs)
        ],
        {"decode_seconds": decode, "counts": counts, "dtype": dtype, "runs": runs},
        host,
        json,
    )


def _prepare(
    recipe: Recipe, images: Path | None, weights: Path | None, counts: dict[str, int]
) -> float:
    if images is None:
        images = Path(recipe.folder) / "digits"
        write_digits(images, sum(counts.values()))
    choose_images(images, recipe.images, counts)
    if weights is not None:
        recipe.put_weights(weights)
    found = run_child(["-m", "benchmarks.recipe_data", recipe.to_json()]).result()
    return float(found["decode_seconds"])


def _run_pairs(sides: dict[str, Recipe], pairs: int, decode: float) -> list[dict[str, Any]]:
    runs = []
    for pair in range(pairs):
        run: dict[str, Any] = {"epochs": sides["plain"].epochs, "pair": pair}
        for side, recipe in sides.items():
            console.print(f"{recipe.epochs} epochs, {side}: begun")
            child = run_child(["-m", f"benchmarks.recipe_{side}", recipe.to_json()])
            run[side] = {
                **child.result(),
                "cpu_seconds": child.cpu_seconds,
                "peak_bytes": child.peak_bytes,
            }
            console.print(f"{recipe.epochs} epochs, {side}: {run[side]['seconds']:.1f} s")
        runs.append({**run, **ratios(run["plain"], run["thaw"], decode)})
    return runs


def ratios(
    plain: Mapping[str, float], thaw: Mapping[str, float], decode: float
) -> dict[str, float]:
    """How many times as long the plain side took.

    Args:
      plain: its `seconds`, `cpu_seconds` and `work_seconds`.
      thaw: the same of the other side.
      decode: seconds that decoding all images once takes; `strict_ratio` adds them to Thaw's.
    """
    return {
        "ratio": plain["seconds"] / thaw["seconds"],
        "strict_ratio": plain["seconds"] / (thaw["seconds"] + decode),
        "cpu_ratio": plain["cpu_seconds"] / thaw["cpu_seconds"],
        "work_ratio": plain["work_seconds"] / thaw["work_seconds"],
    }


def summarize(epochs: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table: medians over the pairs of one number of epochs."""
    return {
        "epochs": f"{epochs}+{epochs}",
        "plain s": median_of(runs, "plain.seconds"),
        "thaw s": median_of(runs, "thaw.seconds"),
        "ratio": median_of(runs, "ratio"),
        "strict": median_of(runs, "strict_ratio"),
        "work": median_of(runs, "work_ratio"),
        "cpu": median_of(runs, "cpu_ratio"),
        "plain GiB": median_of(runs, "plain.peak_bytes") / 2**30,
        "thaw GiB": median_of(runs, "thaw.peak_bytes") / 2**30,
        "plain head": median_of(runs, "plain.accuracy.head"),
        "plain tuned": median_of(runs, "plain.accuracy.fine_tune"),
        "thaw head": median_of(runs, "thaw.accuracy.head"),
        "thaw tuned": median_of(runs, "thaw.accuracy.fine_tune"),
    }


if __name__ == "__main__":
    typer.run(main)
