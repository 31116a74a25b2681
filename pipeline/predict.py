"""Asks a pushed model what images show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.image_example_gen.formats import EXTENSIONS
from pipeline.quiet import quiet_stderr


class PredictError(ValueError):
    """There is no model, or there are no images; the message says what to do."""


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


def find_model(path: Path) -> Path:
    """Returns the SavedModel in or below a path: the path itself, the newest version of a
    served model's folder, or the newest push of a run's output folder.

    Raises:
      PredictError: if there is none.
    """
    if not path.exists():
        raise PredictError(f"{path}: there is no such folder.")
    if (path / "saved_model.pb").exists():
        return path
    served = path / "serving"
    folders = [path, *(served.iterdir() if served.is_dir() else [])]
    versions = [
        version
        for folder in folders
        if folder.is_dir()
        for version in folder.iterdir()
        if version.name.isdigit() and (version / "saved_model.pb").exists()
    ]
    if not versions:
        raise PredictError(
            f"{path}: holds no pushed model. Give a run's output folder or a SavedModel.\n"
            "  A run whose candidate is not blessed pushes nothing; its report says why."
        )
    return max(versions, key=lambda version: (int(version.name), version.stat().st_mtime))


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Files as they are; folders become the images anywhere below them.

    Raises:
      PredictError: if nothing is left.
    """
    found = [image for path in paths for image in _images_of(path)]
    if not found:
        raise PredictError(f"no images in {', '.join(str(path) for path in paths)}.")
    return found


def _images_of(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    yield from sorted(image for image in path.rglob("*") if image.suffix.lower() in EXTENSIONS)


def predict(model_dir: Path, images: Sequence[Path], top: int) -> Iterator[Prediction]:
    """Asks the model about each image, one by one, so that a bad file spoils no other.

    Args:
      model_dir: a SavedModel written by a run.
      images: files.
      top: how many classes to name.
    """
    with quiet_stderr():
        import tensorflow as tf

        model = tf.saved_model.load(str(model_dir)).signatures["serving_default"]
    for image in images:
        try:
            answer = model(image_bytes=tf.constant([image.read_bytes()]))
        except OSError as error:
            yield Prediction(str(image), error=f"cannot be read: {error.strerror}")
        except tf.errors.InvalidArgumentError as error:
            yield Prediction(str(image), error=_refusal(error.message))
        else:
            names = [name.decode() for name in answer["class_names"][0].numpy()]
            ranked = sorted(
                zip(names, answer["probabilities"][0].numpy().tolist(), strict=True),
                key=lambda pair: -pair[1],
            )
            yield Prediction(str(image), tuple(ranked[:top]))


def _refusal(message: str) -> str:
    """TensorFlow's words, without the names of the graph's nodes."""
    for known in ("not a JPEG, PNG, GIF or BMP file", "more than"):
        if known in message:
            sentence = message[message.index(known) :].split("\n")[0]
            return sentence.split("' ")[0].split("]")[0].strip("' \"")
    return "the image data is damaged"
