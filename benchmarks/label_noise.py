"""How early planted wrong labels come in the ranking of `thaw inspect`.

    .venv/bin/python -m benchmarks.label_noise --images FOLDER --weights FILE

One label in twenty is exchanged for another class, and the labels are ranked as `thaw inspect`
ranks them. `found_in_first_tenth` is the share of the planted ones among the first tenth of the
ranking, the mean of several plantings; target: 0.8. Without a folder, scanned digits; without
weights, random ones, which show the method but are a poor backbone.
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tensorflow as tf
import typer
from PIL import Image, ImageOps

from benchmarks.common import JsonOption, console, machine, report
from benchmarks.pictures import write_digits
from pipeline.inspect.probe import judge, rank_labels
from trainer.backbones.networks import load_backbone, preprocess_input
from trainer.backbones.table import BACKBONES

_BACKBONE = "mobilenet_v2"
_NOISE = 0.05
_FIRST = 0.1
_QUICK_IMAGES = 400
_BATCH_SIZE = 32


def main(
    images: Annotated[Path | None, typer.Option(help="Folder of class folders.")] = None,
    weights: Annotated[str, typer.Option(help="Weights of MobileNetV2.")] = "random",
    size: Annotated[int, typer.Option(help="Image side in pixels.")] = 224,
    plantings: Annotated[int, typer.Option(min=1, help="How often labels are exchanged.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="At most 400 images of 96 px.")] = False,
    json: JsonOption = None,
) -> None:
    """Plants wrong labels among real ones and looks where the ranking puts them."""
    host = machine()
    size = 96 if quick else size
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as name:
        if images is None:
            write_digits(Path(name), _QUICK_IMAGES)
        paths = sorted(path for path in (images or Path(name)).glob("*/*") if path.is_file())
        paths = paths[:: max(1, len(paths) // _QUICK_IMAGES)] if quick else paths
        labels = np.unique([path.parent.name for path in paths], return_inverse=True)[1]
        vectors = _features(paths, weights, size)
    found = [_planted(vectors, labels, seed) for seed in range(1 if quick else plantings)]
    row: dict[str, Any] = {
        "images": len(paths),
        "planted": round(_NOISE * len(paths)),
        "accuracy": float(np.mean([accuracy for _, accuracy in found])),
        "found_in_first_tenth": float(np.mean([share for share, _ in found])),
    }
    report("label_noise", f"{_BACKBONE} at {size} px, {weights}", [row], row, host, json)


def _features(paths: list[Path], weights: str, size: int) -> np.ndarray:
    """Pooled features: float32 [images, channels]."""
    backbone = load_backbone(_BACKBONE, size, weights)
    preprocess = preprocess_input(BACKBONES[_BACKBONE])
    pool = tf.function(lambda batch: tf.reduce_mean(backbone(preprocess(batch)), axis=[1, 2]))
    found = []
    for start in range(0, len(paths), _BATCH_SIZE):
        batch = [_pixels(path, size) for path in paths[start : start + _BATCH_SIZE]]
        found.append(pool(tf.constant(np.stack(batch), tf.float32)).numpy())
    console.print(f"{len(paths):,} images have passed the backbone")
    return np.concatenate(found)


def _pixels(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB").resize((size, size)))


def _planted(vectors: np.ndarray, labels: np.ndarray, seed: int) -> tuple[float, float]:
    """Share of the planted labels in the first tenth, and the probe's accuracy."""
    random = np.random.default_rng(seed)
    rows = random.choice(len(labels), round(_NOISE * len(labels)), replace=False)
    classes = labels.max() + 1
    given = labels.copy()
    given[rows] = (labels[rows] + random.integers(1, classes, len(rows))) % classes
    judged = judge(vectors, given, range(len(labels)))
    order, _, _ = rank_labels(judged)
    first = order[: round(_FIRST * len(order))]
    return float(np.isin(rows, first).mean()), float(judged.correct.mean())


if __name__ == "__main__":
    typer.run(main)
