"""Looks for what would stop a run, before anything heavy is loaded."""

import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from components.image_example_gen.formats import EXTENSIONS
from pipeline.config import Config
from trainer.backbones import BACKBONES

_REACH_TIMEOUT_SECS = 5


class PreflightError(ValueError):
    """The run cannot start; the message names what is wrong and what to do."""


def check(config: Config, output_dir: Path) -> None:
    """Checks images, weights and output of a local run.

    Raises:
      PreflightError: on the first thing that would stop it.
    """
    try:
        check_images(config.data.images)
    except OSError as error:
        raise PreflightError(f"{error.filename}: cannot be read: {error.strerror}.") from error
    check_weights(config)
    check_output(output_dir)


def check_images(images: str | None) -> None:
    """Checks that a folder holds at least two class folders with images.

    Remote folders are left to the run. Whether the files are images is, too.
    """
    if not images:
        raise PreflightError("no images: give their folder with --images DIR.")
    if "://" in images:
        return
    folder = Path(images)
    if not folder.exists():
        raise PreflightError(f"{images}: there is no such folder.")
    if not folder.is_dir():
        raise PreflightError(f"{images}: is a file. Give the folder that holds the class folders.")
    classes = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not classes:
        raise PreflightError(_no_classes(folder))
    if len(classes) == 1:
        raise PreflightError(
            f"{images} holds one class only, {classes[0].name}; a classifier needs two or more.\n"
            "  Add a folder with images of something else."
        )
    empty = [path.name for path in classes if not _has_image(path)]
    if empty:
        raise PreflightError(
            f"{images}: no image files in {', '.join(empty)}.\n"
            f"  Add some ({', '.join(sorted(EXTENSIONS))}), or remove the folder."
        )


def _no_classes(folder: Path) -> str:
    if _has_image(folder):
        return (
            f"{folder}: the images lie in the folder itself.\n"
            "  Put the images of each class into a folder of its own, named like the class."
        )
    return f"{folder}: the folder is empty. It should hold one folder of images for each class."


def _has_image(folder: Path) -> bool:
    return any(path.suffix.lower() in EXTENSIONS for path in folder.iterdir())


def keras_models_dir() -> Path:
    """Where tf_keras keeps downloaded weights."""
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"


def check_weights(config: Config) -> None:
    """Checks that the backbone's weights are there or can be had."""
    weights = config.backbone.weights
    if weights == "random" or "://" in weights:
        return
    if weights == "imagenet":
        _check_imagenet(config)
        return
    path = Path(weights).expanduser()
    if not path.is_file():
        raise PreflightError(
            f"backbone.weights: there is no file {weights}.\n"
            "  Give imagenet, random, or the path of an .h5 weights file."
        )
    if path.suffix not in (".h5", ".hdf5"):
        raise PreflightError(
            f"backbone.weights: {weights} is not an .h5 file. "
            "tf_keras saves one with model.save_weights('name.h5')."
        )


def _check_imagenet(config: Config) -> None:
    backbone = BACKBONES[config.backbone.name]
    size_px = config.backbone.image_size_px or backbone.default_size_px
    cached = keras_models_dir() / backbone.imagenet_file(size_px)
    url = backbone.imagenet_url(size_px)
    if cached.exists() or reachable(url):
        return
    raise PreflightError(
        f"backbone.weights: the ImageNet weights of {backbone.name} are not on this machine, "
        "and their publisher cannot be reached.\n"
        f"  Put the file {cached.name} into {cached.parent}\n"
        f"  (on another machine: {url}),\n"
        "  or give weights of your own: --set backbone.weights=PATH.h5\n"
        "  or, only to try things out: --set backbone.weights=random"
    )


def reachable(url: str) -> bool:
    """Whether a download from there could work now."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_REACH_TIMEOUT_SECS):
            return True
    except (urllib.error.URLError, OSError):
        return False


def check_output(output_dir: Path) -> None:
    """Checks that files can be written below the output folder."""
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir):
            pass
    except OSError as error:
        raise PreflightError(
            f"{output_dir}: cannot be written: {error.strerror}. Give another --output."
        ) from error
