"""How long a user waits for a good model: the plain recipe against Thaw's two schedules.

    .venv/bin/python -m benchmarks.time_to_accuracy --quick

The plain side is `benchmarks.recipe_plain`, the recipe as Keras documents it, with `EarlyStopping`
of patience 5 that restores the best weights, and at most 50 epochs of each fit. Thaw's sides are
`benchmarks.recipe_thaw` with `fits.schedule` recipe and fast: the trunk pass, both fits and their
exports, and decoding all images once besides. The same images in the same splits, the same first
weights of the backbone; each side a process of its own, in turn, its start and imports included.

The target is the plain recipe's own lowest validation loss. The plain side holds it after the
epoch that reached it, which it cannot know before it has waited out its patience: those epochs do
not count. Thaw holds it, if it does at all, once the model is exported.
"""

import dataclasses
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from scipy import stats

from benchmarks.common import ROOT, JsonOption, console, machine, report, run_child
from benchmarks.pictures import write_digits
from benchmarks.recipe_data import Recipe, choose_images
from trainer import keys
from trainer.backbones.table import BACKBONES

_SCHEDULES = ("recipe", "fast")
_WEIGHTS = {
    "mobilenet_v2": "mobilenet_v2_imagenet_224px_notop.weights.h5",
    "inception_v3": "inception_v3_299px_notop.weights.h5",
}
_BATCH_SIZE = 32
_MADE = "digits"


@dataclass(frozen=True)
class Case:
    """Images and a backbone.

    Attributes:
      images: name of the data set.
      backbone: key of `BACKBONES`.
    """

    images: str
    backbone: str

    def __str__(self) -> str:
        return f"{self.images}, {self.backbone}"


def main(
    case: Annotated[
        list[str] | None,
        typer.Option(help="IMAGES:BACKBONE; may be repeated.  [default: all that there are]"),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each side, with other splits.")] = 3,
    num_images: Annotated[int, typer.Option("--images", help="Of each case, at most.")] = 800,
    epochs: Annotated[int, typer.Option(help="At most, of each of the recipe's fits.")] = 50,
    shared: Annotated[
        Path, typer.Option(help="Folder with `data` and `weights`; without it, made images only.")
    ] = ROOT.parent / "shared",
    recipe: Annotated[
        bool, typer.Option(help="Also time Thaw's own recipe schedule; fast always is.")
    ] = True,
    units: Annotated[
        int, typer.Option(help="Width of the hidden layer of fast; 0: its head is solved.")
    ] = 1024,
    quick: Annotated[
        bool, typer.Option(help="MobileNetV2, 300 images, one seed: under ten minutes.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Times both fits until they hold the plain recipe's lowest validation loss.

    `ratio`: the plain side's seconds over Thaw's; 0 where Thaw does not get there.
    `accuracy_difference`: on test images, of what `fast` keeps less what the plain recipe keeps.
    """
    host = machine()
    cases = _choose(case, shared, quick)
    if quick:
        seeds, num_images = 1, 300
    schedules = _SCHEDULES if recipe else _SCHEDULES[1:]
    runs = [
        _run(one, seed, num_images, epochs, shared, units, schedules)
        for one in cases
        for seed in range(seeds)
    ]
    rows = [summarize(str(one), [run for run in runs if run["case"] == str(one)]) for one in cases]
    report(
        "time_to_accuracy",
        f"until the plain recipe's lowest validation loss; {seeds} runs a side, at most "
        f"{num_images} images",
        rows,
        {**overall(runs), "runs": runs},
        host,
        json,
    )


def _choose(named: Sequence[str] | None, shared: Path, quick: bool) -> list[Case]:
    """The cases that can be run here; says which cannot."""
    wanted = [
        Case(images, backbone)
        for backbone in ("mobilenet_v2", "inception_v3")
        for images in ("trashnet", "sign_language_digits", _MADE)
    ]
    if named:
        wanted = [Case(*text.split(":", 1)) for text in named]
    elif quick:
        wanted = wanted[:3]
    cases = []
    for one in wanted:
        images = shared / "data" / one.images
        if one.images == _MADE or images.is_dir():
            cases.append(one)
        else:
            console.print(f"skipped: {one}: there is no {images}")
    return cases


def _run(
    case: Case,
    seed: int,
    num_images: int,
    epochs: int,
    shared: Path,
    units: int,
    schedules: Sequence[str],
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as folder:
        weights = shared / "weights" / _WEIGHTS.get(case.backbone, "")
        size_px = BACKBONES[case.backbone].default_size_px
        if not weights.is_file():
            console.print(f"{case}: there is no {weights}: random weights, at 96 px")
            size_px = max(96, BACKBONES[case.backbone].min_size_px)
        recipe = Recipe(
            folder,
            size_px,
            epochs,
            _BATCH_SIZE,
            "float32",
            "float16",
            backbone=case.backbone,
            seed=seed,
            patience=5,
        )
        decode = _prepare(recipe, case, num_images, shared, weights)
        sides = {name: _time(recipe, case, name, units) for name in ("plain", *schedules)}
    return {"case": str(case), "seed": seed, **compare(sides, decode), "sides": sides}


def _prepare(recipe: Recipe, case: Case, num_images: int, shared: Path, weights: Path) -> float:
    """Chooses and decodes the images; seconds of decoding."""
    images = shared / "data" / case.images
    if case.images == _MADE:
        images = Path(recipe.folder) / _MADE
        write_digits(images, num_images)
    count = min(num_images, sum(1 for path in images.glob("*/*") if path.is_file()))
    test = val = count * 15 // 100
    counts = dict(zip(keys.SPLITS, (count - val - test, val, test), strict=True))
    choose_images(images, recipe.images, counts, recipe.seed)
    if weights.is_file():
        recipe.put_weights(weights)
    found = run_child(["-m", "benchmarks.recipe_data", recipe.to_json()]).result()
    return float(found["decode_seconds"])


def _time(recipe: Recipe, case: Case, side: str, units: int) -> dict[str, Any]:
    if side == "fast":
        recipe = dataclasses.replace(recipe, schedule="fast", head_units=units)
    console.print(f"{case}, seed {recipe.seed}, {side}: begun")
    found = run_child(
        ["-m", f"benchmarks.recipe_{'plain' if side == 'plain' else 'thaw'}", recipe.to_json()]
    ).result()
    console.print(
        f"{case}, seed {recipe.seed}, {side}: {found['seconds']:.1f} s, "
        f"test accuracy {found['accuracy']['fine_tune']:.3f}"
    )
    return found


def compare(sides: Mapping[str, Mapping[str, Any]], decode: float) -> dict[str, float]:
    """Figures of one run of all sides.

    Args:
      sides: name -> what its process printed.
      decode: seconds of decoding all images once, which the plain side does in every epoch.
    """
    epochs = sides["plain"]["epochs"]
    target = min(epoch["val_loss"] for epoch in epochs)
    plain = next(epoch["seconds"] for epoch in epochs if epoch["val_loss"] == target)
    figures = {"target": target, "plain_seconds": plain}
    for name in sides.keys() - {"plain"}:
        seconds = sides[name]["seconds"] + decode
        reached = min(sides[name]["val_loss"].values()) <= target
        figures |= {f"{name}_seconds": seconds, f"{name}_ratio": plain / seconds * reached}
        figures[f"{name}_accuracy_difference"] = (
            sides[name]["accuracy"]["fine_tune"] - sides["plain"]["accuracy"]["fine_tune"]
        )
    return figures


def summarize(case: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians of one case over its seeds; accuracies are means."""

    def median(key: str) -> float:
        return statistics.median(run[key] for run in runs)

    schedules = [name for name in _SCHEDULES if name in runs[0]["sides"]]
    return {
        "case": case,
        "plain s": median("plain_seconds"),
        **{f"{name} s": median(f"{name}_seconds") for name in schedules},
        **{f"{name} ratio": median(f"{name}_ratio") for name in schedules},
        "plain accuracy": statistics.fmean(
            run["sides"]["plain"]["accuracy"]["fine_tune"] for run in runs
        ),
        "fast difference": statistics.fmean(run["fast_accuracy_difference"] for run in runs),
    }


def overall(runs: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The figures of `fast` over all cases and seeds.

    `accuracy_low` is the lower end of the 95 % interval of the mean difference (Student's t); None
    with a single run.
    """
    differences = [run["fast_accuracy_difference"] for run in runs]
    low = None
    if len(differences) > 1:
        low = float(stats.ttest_1samp(differences, 0).confidence_interval(0.95).low)
    return {
        "ratio": statistics.median(run["fast_ratio"] for run in runs),
        "accuracy_difference": statistics.fmean(differences),
        "accuracy_low": low,
    }


if __name__ == "__main__":
    typer.run(main)
