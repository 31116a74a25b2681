"""What new images cost when the others are in the trunk store.

    .venv/bin/python -m benchmarks.new_images

Random images pass TrunkFeatures three times with one store: all of them new; all of them known;
one in a hundred new. The second is the start-up, which every run pays. `ratio` is the third over
the first, both without the start-up; target: 0.03.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import typer

from benchmarks.common import JsonOption, console, machine, report
from components.trunk_features.executor import Counts, write_backbone, write_features
from trainer import keys
from trainer.data.card import DataCard, write_card
from trainer.data.images import serialize_image
from trainer.model.trunk import BACKBONE_FILE
from trainer.specs import NO_CHANGE, TrunkFeaturesArgs, TrunkSpec, TrunkStoreArgs

_STORE_BYTES = 10**12


def main(
    images: Annotated[int, typer.Option(min=100, help="Images of the first run.")] = 1000,
    size: Annotated[int, typer.Option(help="Side of the square images.")] = 299,
    quick: Annotated[bool, typer.Option("--quick", help="200 images of 75 px.")] = False,
    json: JsonOption = None,
) -> None:
    """Times TrunkFeatures on new, on known and on one in a hundred new images."""
    host = machine()
    images, size = (200, 75) if quick else (images, size)
    new = images // 100
    spec = TrunkSpec("inception_v3", size, "mixed8", "float16", "float32")
    settings = TrunkFeaturesArgs(spec, "random", "", 1, 0, NO_CHANGE)
    with tempfile.TemporaryDirectory(prefix="thaw-benchmark-") as name:
        folder = Path(name)
        for source, numbers in {"first": range(images), "more": range(new, images + new)}.items():
            _write_images(folder / source, numbers, size)
        weights = str(folder / BACKBONE_FILE)
        write_backbone(settings, str(folder / "first"), weights)

        def run(source: str, target: str) -> tuple[float, Counts | None]:
            started = time.monotonic()
            counts = write_features(
                beam.Pipeline(runner="DirectRunner"),
                settings,
                str(folder / source),
                str(folder / target),
                weights,
                TrunkStoreArgs(str(folder / "store"), _STORE_BYTES),
            )
            return time.monotonic() - started, counts

        first, _ = run("first", "new")
        known, _ = run("first", "known")
        more, counts = run("more", "some new")
    row: dict[str, Any] = {
        "images": images,
        "new": counts.computed if counts else None,
        "first_seconds": first,
        "known_seconds": known,
        "second_seconds": more,
        "ratio": max(0.0, more - known) / (first - known),
    }
    report("new_images", f"InceptionV3 to mixed8 at {size} px", [row], row, host, json)


def _write_images(uri: Path, numbers: range, size: int) -> None:
    for split in keys.SPLITS:
        folder = uri / keys.split_folder(split)
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "images-00000-of-00001.gz"), "GZIP") as writer:
            for number in numbers if split == keys.TRAIN else ():
                writer.write(_example(number, size))
    write_card(DataCard("random", "", {keys.TRAIN: {"any": len(numbers)}}), str(uri))
    console.print(f"{len(numbers):,} images of {size} px written")


def _example(number: int, size: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, [size, size, 3], "uint8")
    example = tf.train.Example()
    feature = example.features.feature
    feature[keys.IMAGE].bytes_list.value.append(serialize_image(tf.constant(pixels)).numpy())
    feature[keys.ID].bytes_list.value.append(str(number).encode())
    feature[keys.LABEL_ID].int64_list.value.append(number % 2)
    return bytes(example.SerializeToString())


if __name__ == "__main__":
    typer.run(main)
