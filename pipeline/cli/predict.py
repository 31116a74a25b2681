"""Classifies images with a pushed model."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.model import ImageRefused, PushedModel
from trainer.data.formats import EXTENSIONS
from trainer.data.regular_files import UnreadableFile, read_regular_file
from trainer.errors import ThawError
from trainer.store.uris import is_remote


class NoImages(ThawError):
    """There are no images to classify. The message names the folders."""


@dataclass(frozen=True)
class FoundFile:
    """A file to classify, or the reason why there is none at this path.

    Attributes:
      path: path of the file or, on an error, of a folder.
      error: why there is nothing to classify; empty if there is.
    """

    path: str
    error: str = ""


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for one file.

    Attributes:
      path: path of the file.
      classes: (class name, probability), most probable first; empty on an error.
      error: why the file could not be classified; empty if it was.
      is_known: whether the image is like the training images; None if the model does not say.
    """

    path: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""
    is_known: bool | None = None


def find_images(paths: Sequence[str]) -> list[FoundFile]:
    """Lists files, and the images at any depth of folders.

    Links to folders are not followed, except those in `paths`. A folder that is empty or
    cannot be listed becomes an entry with an error, so that the other files are classified
    all the same.

    Example:
      files = find_images(["photo.jpg", "folder-of-photos"])

    Raises:
      NoImages: if there is nothing but empty folders.
    """
    images_by_path = [(path, _images_of(path)) for path in paths]
    if not any(images for _, images in images_by_path):
        raise NoImages(f"no images in {', '.join(paths)}.")
    return [
        image
        for path, images in images_by_path
        for image in images or [FoundFile(path, "holds no images")]
    ]


def _images_of(path: str) -> list[FoundFile]:
    if is_remote(path) and not os.path.lexists(path):
        return [FoundFile(path, "not a local file: download it first")]
    if not os.path.isdir(path):
        return [FoundFile(path)]
    unlisted: list[OSError] = []
    images = [
        FoundFile(os.path.join(folder, name))
        for folder, _, names in os.walk(path, onerror=unlisted.append)
        for name in names
        if os.path.splitext(name)[1].lower() in EXTENSIONS
    ]
    images += [
        FoundFile(error.filename or path, f"cannot be listed: {error.strerror}")
        for error in unlisted
    ]
    return sorted(images, key=lambda file: Path(file.path))


def predict(model: PushedModel, files: Iterable[FoundFile], top: int) -> Iterator[Prediction]:
    """Classifies each file on its own, so that a bad one does not affect the others.

    Example:
      predictions = list(predict(load_model("out/serving/thaw/1"), find_images(["a.jpg"]), top=3))

    Args:
      model: a loaded model.
      files: from `find_images`. A file that has vanished since becomes a prediction with an error.
      top: number of classes per prediction.
    """
    for file in files:
        if file.error:
            yield Prediction(file.path, error=file.error)
            continue
        try:
            content = read_regular_file(file.path, model.max_file_bytes)
            answer = model.ask(content)
            yield Prediction(file.path, tuple(answer.classes[:top]), is_known=answer.is_known)
        except (UnreadableFile, ImageRefused) as error:
            yield Prediction(file.path, error=str(error))
