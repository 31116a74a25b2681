"""Looks for what would stop a run, before anything heavy is loaded."""

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from components.exporter.formats import require_packages
from components.image_example_gen.sources import archive, manifest
from components.image_example_gen.sources.entry import UnusableDataset
from components.image_example_gen.sources.folder import Folder, is_system_name
from components.image_example_gen.sources.manifest import Manifest
from components.image_example_gen.sources.tfrecord import record_files
from pipeline.config.schema import Config
from trainer.backbones.table import BACKBONES
from trainer.data.formats import EXTENSIONS
from trainer.data.labels import is_utf8, name_problems, printable
from trainer.errors import ThawError
from trainer.store.uris import is_remote

_REACH_TIMEOUT_SECS = 5
# Folders below the output folder that a run writes to.
_WRITTEN = ("artifacts", "exports", "inspect", "logs", "samples", "serving", "trunk_store")
# A model's weights pass through a temporary file, 88 MB of InceptionV3, two at a time at most.
_TEMPORARY_BYTES = 256 * 2**20
_PATTERN_CHARACTERS = frozenset("*?[\\")


class PreflightError(ThawError):
    """The run cannot start; the message names what is wrong and what to do."""


def check(config: Config, output_dir: Path) -> None:
    """Checks images, weights and output of a local run.

    Raises:
      PreflightError: on the first thing that would stop it.
    """
    try:
        check_images(config.data.images)
        check_places(str(config.data.images), output_dir)
    except OSError as error:
        raise PreflightError(
            f"cannot be read: {error.strerror}.", where=printable(str(error.filename))
        ) from error
    check_weights(config)
    check_formats(config)
    check_temporary_folder()
    check_output(output_dir)


def check_images(images: str | None) -> None:
    """Checks that a folder holds at least two class folders with images, or a manifest.

    What is remote is left to the run. Whether the files are images is, too.
    """
    if not images:
        raise PreflightError("no images: give their folder with --images PATH.")
    if is_remote(images):
        return
    if not is_utf8(images):
        raise PreflightError("this path is not UTF-8. Rename the folder.", where=printable(images))
    folder = Path(images)
    if not folder.exists():
        raise PreflightError("there is no such file or folder.", where=images)
    if not folder.is_dir():
        _check_file(images)
        return
    if record_files(images):
        return
    classes: dict[str, list[Path]] = {}
    for found in Folder(images).class_folders():
        classes.setdefault(found.label, []).append(Path(found.path))
    if not classes:
        raise _no_classes(folder)
    problems = name_problems(classes)
    if problems:
        raise PreflightError(problems, where=images)
    if len(classes) == 1:
        raise PreflightError(
            f"{images} holds one class only, {''.join(classes)}; a classifier needs two or more.",
            to_do="Add a folder with images of something else.",
        )
    empty = [label for label, paths in classes.items() if not any(map(_has_image, paths))]
    if empty:
        raise PreflightError(
            f"no image files in {', '.join(empty)}.",
            where=images,
            to_do=f"Add some ({', '.join(sorted(EXTENSIONS))}), or remove the folder.",
        )


def _check_file(images: str) -> None:
    """Checks a manifest to its last line; archives are left to the run, which unpacks them."""
    name = images.lower()
    if record_files(images):
        return
    if name.endswith(manifest.ENDINGS):
        try:
            Manifest(images).check()
        except UnusableDataset as error:
            raise PreflightError(error.what, error.where, error.to_do) from error
    elif not name.endswith(archive.ENDINGS):
        endings = ", ".join((*manifest.ENDINGS, *archive.ENDINGS))
        raise PreflightError(
            f"is no folder, and its name ends in none of {endings}.",
            where=images,
            to_do="Give a folder of class folders, a manifest, an archive or TFRecords.",
        )


def _class_folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not is_system_name(path.name)
    )


def _no_classes(folder: Path) -> PreflightError:
    if _has_image(folder):
        return PreflightError(
            "the images lie in the folder itself.",
            where=str(folder),
            to_do="Put the images of each class into a folder of its own, named like the class.",
        )
    return PreflightError(
        "the folder is empty. It should hold one folder of images for each class.",
        where=str(folder),
    )


def _has_image(folder: Path) -> bool:
    """Whether there is a file that is named like an image, at any depth."""
    return any(
        path.suffix.lower() in EXTENSIONS and not is_system_name(path.name)
        for path in folder.rglob("*")
    )


def check_places(images: str, output_dir: Path) -> None:
    """Checks that a run does not write among its images. Links are followed.

    Args:
      images: the folder of class folders; nothing is checked of a remote one.
      output_dir: need not exist.
    """
    if is_remote(images) or os.path.isfile(images):
        return
    folder = Path(images)
    _check_output_outside(output_dir, folder, f"the images folder, {folder}")
    for path in _class_folders(folder) if folder.is_dir() else []:
        _check_output_outside(output_dir, path, f"the class folder {path.name}")
    for name in _WRITTEN:
        written = output_dir / name
        if _is_in(folder, written):
            raise PreflightError(
                f"the images are in {written}, which the run writes to.",
                where=str(folder),
                to_do="Move them, or give another --output.",
            )


def _check_output_outside(output_dir: Path, folder: Path, name: str) -> None:
    if _is_in(output_dir, folder):
        where = "is" if _is_in(folder, output_dir) else "is inside"
        raise PreflightError(
            f"the output folder {where} {name}: the run would take what it writes for images.",
            where=str(output_dir),
            to_do="Give an --output elsewhere.",
        )


def _is_in(path: Path, folder: Path) -> bool:
    """Whether a path is a folder, or lies below it, by any name that leads there."""
    resolved = Path(os.path.realpath(path))
    if resolved.is_relative_to(os.path.realpath(folder)):
        return True
    # The same folder by another mount, or by other letters where case does not count.
    return folder.exists() and any(
        parent.exists() and parent.samefile(folder) for parent in (resolved, *resolved.parents)
    )


def keras_models_dir() -> Path:
    """Where tf_keras keeps downloaded weights.

    As its `get_file` decides, which does not ask for KERAS_HOME: `~/.keras`, which importing
    tf_keras makes unless KERAS_HOME is set, or `/tmp/.keras` where that cannot be written.
    """
    home = Path(os.path.expanduser("~"))
    folder = home / ".keras"
    is_made = "KERAS_HOME" not in os.environ and not folder.exists() and os.access(home, os.W_OK)
    return (folder if is_made or os.access(folder, os.W_OK) else Path("/tmp/.keras")) / "models"


def check_weights(config: Config) -> None:
    """Checks that the backbone's weights are there or can be had."""
    weights = config.backbone.weights
    if weights == "random" or is_remote(weights):
        return
    if weights == "imagenet":
        _check_imagenet(config)
        return
    path = Path(weights).expanduser()
    if not path.is_file():
        raise PreflightError(
            f"there is no file {weights}.",
            where="backbone.weights",
            to_do="Give imagenet, random, or the path of an .h5 weights file.",
        )
    if path.suffix not in (".h5", ".hdf5"):
        raise PreflightError(
            f"{weights} is not an .h5 file. tf_keras saves one with model.save_weights('name.h5').",
            where="backbone.weights",
        )


def check_formats(config: Config) -> None:
    """Checks that the packages for the formats of `export.formats` are installed."""
    try:
        require_packages(config.export.formats)
    except ThawError as error:
        raise PreflightError(error.what, error.where, error.to_do) from error


def _check_imagenet(config: Config) -> None:
    backbone = BACKBONES[config.backbone.name]
    size_px = config.backbone.image_size_px or backbone.default_size_px
    cached = keras_models_dir() / backbone.imagenet_file(size_px)
    url = backbone.imagenet_url(size_px)
    if cached.exists() or reachable(url):
        return
    raise PreflightError(
        f"the ImageNet weights of {backbone.name} are not on this machine, and their publisher "
        "cannot be reached.",
        where="backbone.weights",
        to_do=f"Put the file {cached.name} into {cached.parent}\n"
        f"(on another machine: {url}),\n"
        "or give weights of your own: --set backbone.weights=PATH.h5\n"
        "or, only to try things out: --set backbone.weights=random",
    )


def reachable(url: str) -> bool:
    """Whether a download from there could work now."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_REACH_TIMEOUT_SECS):
            return True
    except (urllib.error.URLError, OSError):
        return False


def check_temporary_folder() -> None:
    """Checks that there is a folder for temporary files, with room for a model's weights."""
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise PreflightError(
            f"no folder for temporary files can be written ({error.strerror}).",
            to_do="Set TMPDIR to one.",
        ) from error
    if free < _TEMPORARY_BYTES:
        raise PreflightError(
            f"has {free // 2**20} MB free for temporary files; "
            f"{_TEMPORARY_BYTES // 2**20} MB are needed.",
            where=folder,
            to_do="Free some space there, or set TMPDIR to another folder.",
        )


def check_output(output_dir: Path) -> None:
    """Checks that files can be written below the output folder.

    Its path must be no pattern: TFX, TFT and Beam name their artifacts' files by patterns,
    and would find none, or those of another folder.
    """
    if _PATTERN_CHARACTERS.intersection(str(output_dir)):
        raise PreflightError(
            "TensorFlow and Beam read *, ?, [ and \\ in a path as a pattern.",
            where=str(output_dir),
            to_do="Give an --output without them. (In the images folder's path they are fine.)",
        )
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir):
            pass
    except OSError as error:
        raise PreflightError(
            f"cannot be written: {error.strerror}. Give another --output.",
            where=str(output_dir),
        ) from error
