"""Chooses test images worth looking at, and writes thumbnails of them for the report."""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import tensorflow as tf
from PIL import Image
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from pipeline.report.certainty_record import DoubtfulLabel
from pipeline.report.run_record import Prediction, Sample
from serving.heat_maps import explain, overlay
from serving.model import ImageRefused, PushedModel, load_model
from trainer.data.predictions import Choice, Row
from trainer.errors import ThawError

_MOST = 24
_SIDE_PX = 160
_HEAT_MAP_PX = 112


def choose(rows: Iterable[Row], labels: Sequence[str]) -> list[Row]:
    """Chooses rows to show: a third each of images that the models disagree on, of the
    candidate's other mistakes, the surest first, and of the rest. A group with fewer leaves
    room for the others.
    """

    def kind(row: Row) -> int:
        if row.baseline.label_id != row.candidate.label_id:
            return 0
        return 1 if labels[row.candidate.label_id] != row.label else 2

    # Ids are hashes: their order is as good as random, and always the same.
    ordered = sorted(rows, key=lambda row: row.id)
    groups = [[row for row in ordered if kind(row) == number] for number in range(3)]
    groups[1].sort(key=lambda row: -(row.candidate.probability or 0.0))
    third = _MOST // 3
    first = [row for group in groups for row in group[:third]]
    spare = [row for group in groups for row in group[third:]]
    return first + spare[: _MOST - len(first)]


def load_models(model_uris: Mapping[str, str]) -> dict[str, PushedModel]:
    """Loads exported models for their heat maps; none that is not on this machine.

    Args:
      model_uris: name -> folder of the model artifact.
    """
    folders = {name: Path(path_utils.serving_model_path(uri)) for name, uri in model_uris.items()}
    return {name: load_model(folder) for name, folder in folders.items() if folder.is_dir()}


def write_samples(
    rows: Iterable[Row],
    labels: Sequence[str],
    output_dir: Path,
    models: Mapping[str, PushedModel] | None = None,
) -> list[Sample]:
    """Writes a thumbnail for each chosen row. Skips images that no longer exist.

    Args:
      rows: of the test split.
      labels: class names by label id.
      output_dir: thumbnails are written into its folder `samples`.
      models: model -> itself, for heat maps of its choices; None: no heat maps.
    """
    folder = output_dir / "samples"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    samples = []
    for row in choose(rows, labels):
        name = hashlib.sha256(row.id.encode()).hexdigest()[:16] + ".jpg"
        content = _read(row.path)
        if content and _write_thumbnail(content, folder / name):
            samples.append(
                Sample(
                    path=row.path,
                    thumbnail=f"samples/{name}",
                    label=row.label,
                    baseline=_prediction(row.baseline, labels),
                    candidate=_prediction(row.candidate, labels),
                    heat_maps=_write_heat_maps(models or {}, row, content, folder / name),
                )
            )
    return samples


def _write_heat_maps(
    models: Mapping[str, PushedModel], row: Row, content: bytes, thumbnail: Path
) -> dict[str, str]:
    written = {}
    for name, model in models.items():
        path = thumbnail.with_name(f"{thumbnail.stem}-{name}.jpg")
        with suppress(ImageRefused):
            heat_map = explain(model, content, row.choice(name).label_id)
            overlay(heat_map, _HEAT_MAP_PX).save(path, quality=80)
            written[name] = f"{thumbnail.parent.name}/{path.name}"
    return written


def _prediction(choice: Choice, labels: Sequence[str]) -> Prediction:
    return Prediction(class_name=labels[choice.label_id], probability=choice.probability)


def with_thumbnails(found: Iterable[DoubtfulLabel], output_dir: Path) -> list[DoubtfulLabel]:
    """The same with thumbnails; call it after `write_samples`, which empties the folder."""
    shown = []
    for number, one in enumerate(found):
        name = f"samples/doubtful-{number:02d}.jpg"
        content = _read(one.path)
        written = content is not None and _write_thumbnail(content, output_dir / name)
        shown.append(one.model_copy(update={"thumbnail": name}) if written else one)
    return shown


def _read(path: str) -> bytes | None:
    try:
        with fileio.open(path, "rb") as file:
            return bytes(file.read())
    except (OSError, tf.errors.OpError, ThawError):
        return None


def _write_thumbnail(content: bytes, target: Path) -> bool:
    try:
        image = Image.open(io.BytesIO(content)).convert("RGB")
    except OSError:
        return False
    image.thumbnail((_SIDE_PX, _SIDE_PX))
    image.save(target, quality=85)
    return True
