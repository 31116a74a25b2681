"""Chooses test images worth looking at, and writes thumbnails of them for the report."""

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf
from PIL import Image
from tfx.dsl.io import fileio

from pipeline.report.run_record import Prediction, Sample
from trainer.data.predictions import Choice, Row
from trainer.errors import ThawError

_MOST = 24
_SIDE_PX = 160


def choose(rows: Iterable[Row], labels: Sequence[str]) -> list[Row]:
    """Chooses rows to show: a third each of images that the models disagree on, of the
    candidate's other mistakes, and of the rest. A group with fewer leaves room for the others.
    """

    def kind(row: Row) -> int:
        if row.baseline.label_id != row.candidate.label_id:
            return 0
        return 1 if labels[row.candidate.label_id] != row.label else 2

    # Ids are hashes: their order is as good as random, and always the same.
    ordered = sorted(rows, key=lambda row: row.id)
    groups = [[row for row in ordered if kind(row) == number] for number in range(3)]
    third = _MOST // 3
    first = [row for group in groups for row in group[:third]]
    spare = [row for group in groups for row in group[third:]]
    return first + spare[: _MOST - len(first)]


def write_samples(rows: Iterable[Row], labels: Sequence[str], output_dir: Path) -> list[Sample]:
    """Writes a thumbnail for each chosen row. Skips images that no longer exist."""
    folder = output_dir / "samples"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    samples = []
    for row in choose(rows, labels):
        name = hashlib.sha256(row.id.encode()).hexdigest()[:16] + ".jpg"
        if _write_thumbnail(row.path, folder / name):
            samples.append(
                Sample(
                    path=row.path,
                    thumbnail=f"samples/{name}",
                    label=row.label,
                    baseline=_prediction(row.baseline, labels),
                    candidate=_prediction(row.candidate, labels),
                )
            )
    return samples


def _prediction(choice: Choice, labels: Sequence[str]) -> Prediction:
    return Prediction(class_name=labels[choice.label_id], probability=choice.probability)


def _write_thumbnail(path: str, target: Path) -> bool:
    try:
        with fileio.open(path, "rb") as file:
            image = Image.open(io.BytesIO(file.read())).convert("RGB")
    except (OSError, tf.errors.OpError, ThawError):
        return False
    image.thumbnail((_SIDE_PX, _SIDE_PX))
    image.save(target, quality=85)
    return True
