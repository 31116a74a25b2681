"""Asks a pushed model what images show."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.image_example_gen.formats import EXTENSIONS
from serving.model import ImageRefused, PushedModel
from trainer.data.regular_files import UnreadableFile, read_regular_file
from trainer.errors import ThawError


class NoImages(ThawError):
    """There is nothing to ask about; the message says where."""


@dataclass(frozen=True)
class FoundFile:
    """A file to ask about, or why there is none at this path.

    Attributes:
      path: of a file or, on an error, of a folder.
      error: empty if it may be read.
    """

    path: str
    error: str = ""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file.

    Attributes:
      path: the file.
      classes: (class name, probability), most probable first; empty on an error.
      error: why the file could not be judged; empty if it was.
    """

    path: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""


def find_images(paths: Sequence[str]) -> list[FoundFile]:
    """Files as they are; folders become the images anywhere below them.

    Does not follow links to folders, except those in `paths`. A folder that is empty or
    cannot be listed becomes an entry with the error, so that it costs no other its answer.

    Raises:
      NoImages: if all that is left are empty folders.
    """
    found = [(path, _images_of(path)) for path in paths]
    if not any(images for _, images in found):
        raise NoImages(f"no images in {', '.join(paths)}.")
    return [
        image for path, images in found for image in images or [FoundFile(path, "holds no images")]
    ]


def _images_of(path: str) -> list[FoundFile]:
    if "://" in path and not os.path.lexists(path):
        return [FoundFile(path, "not a file of this machine: download it first")]
    if not os.path.isdir(path):
        return [FoundFile(path)]
    unlisted: list[OSError] = []
    found = [
        FoundFile(os.path.join(folder, name))
        for folder, _, names in os.walk(path, onerror=unlisted.append)
        for name in names
        if os.path.splitext(name)[1].lower() in EXTENSIONS
    ]
    found += [
        FoundFile(error.filename or path, f"cannot be listed: {error.strerror}")
        for error in unlisted
    ]
    return sorted(found, key=lambda file: Path(file.path))


def predict(model: PushedModel, files: Iterable[FoundFile], top: int) -> Iterator[Prediction]:
    """Asks the model about each file, one by one, so that a bad one spoils no other.

    Args:
      model: loaded.
      files: what `find_images` returned; what has vanished since is an error of its own.
      top: how many classes to name.
    """
    for file in files:
        if file.error:
            yield Prediction(file.path, error=file.error)
            continue
        try:
            content = read_regular_file(file.path, model.max_file_bytes)
            yield Prediction(file.path, tuple(model.ask(content)[:top]))
        except (UnreadableFile, ImageRefused) as error:
            yield Prediction(file.path, error=str(error))
