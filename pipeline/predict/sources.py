"""Finds what `thaw predict` is to classify: files, folders, manifests, archives, or a list."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from components.image_example_gen.sources import archive, manifest
from components.image_example_gen.sources.archive import Archive, Unpacked
from components.image_example_gen.sources.entry import Entry, UnusableDataset
from components.image_example_gen.sources.folder import remote_files
from components.image_example_gen.sources.manifest import Manifest
from serving.batch_predict import ImageFile
from trainer.data.formats import EXTENSIONS, has_image_name
from trainer.data.regular_files import DEFAULT_MAX_FILE_BYTES
from trainer.errors import ThawError
from trainer.store.uris import is_remote

STANDARD_INPUT = "-"


class NoImages(ThawError):
    """There are no images to classify. The message names the folders."""


@dataclass(frozen=True)
class FoundImages:
    """What there is to classify, in the order in which it was given.

    Attributes:
      parts: lists of files, and archives that are read once it is their turn.
    """

    parts: tuple[list[ImageFile] | Archive, ...]

    @property
    def num_files(self) -> int | None:
        """How many there are; None if an archive has to be read for that."""
        if any(isinstance(part, Archive) for part in self.parts):
            return None
        return sum(len(part) for part in self.parts if isinstance(part, list))

    def files(self, max_file_bytes: int = DEFAULT_MAX_FILE_BYTES) -> Iterator[ImageFile]:
        """Yields every file; larger ones in archives have an error."""
        for part in self.parts:
            if isinstance(part, Archive):
                yield from files_in_archive(replace(part, max_file_bytes=max_file_bytes))
            else:
                yield from part


def find_images(paths: Sequence[str]) -> FoundImages:
    """Lists files, the images at any depth of folders, and those that manifests name.

    Links to folders are not followed, except those in `paths`. A folder that is empty or
    cannot be listed becomes an entry with an error, so that the other files are classified
    all the same.

    Example:
      found = find_images(["photo.jpg", "folder-of-photos", "photos.csv", "photos.zip"])

    Raises:
      NoImages: if there is nothing but empty folders.
      UnusableDataset: if a manifest is malformed, naming the line.
    """
    paths = read_list(paths)
    parts = tuple(images_at(path) for path in paths)
    if all(part == _nothing_in(path) for path, part in zip(paths, parts, strict=True)):
        raise NoImages(f"no images in {', '.join(paths) or 'standard input'}.")
    return FoundImages(parts)


def read_list(paths: Sequence[str]) -> list[str]:
    """The paths, with the lines of standard input, each a path of its own, in place of a `-`."""
    if STANDARD_INPUT not in paths:
        return list(paths)
    lines = sys.stdin.buffer.read().split(b"\n")
    listed = [os.fsdecode(line.rstrip(b"\r")) for line in lines if line.strip()]
    place = paths.index(STANDARD_INPUT)
    return [*paths[:place], *listed, *paths[place + 1 :]]


def images_at(path: str, in_store: bool = False) -> list[ImageFile] | Archive:
    """What one path stands for; where there is nothing, an entry with an error.

    Args:
      path: of a file, a folder, a manifest or an archive.
      in_store: whether addresses in a store are read; if not, they are errors.

    Raises:
      UnusableDataset: if a manifest is malformed, naming the line.
    """
    if is_remote(path) and not os.path.lexists(path):
        if not in_store:
            return [_not_here(path)]
        if path.lower().endswith(archive.ENDINGS):
            return [ImageFile(path, error="archives are read from a local disk only")]
        if not path.lower().endswith(manifest.ENDINGS):
            return _images_in_store(path) or _nothing_in(path)
    if os.path.isdir(path):
        return _images_below(path) or _nothing_in(path)
    if path.lower().endswith(archive.ENDINGS):
        return Archive(path, "", DEFAULT_MAX_FILE_BYTES)
    if path.lower().endswith(manifest.ENDINGS):
        return _images_in_manifest(path, in_store) or _nothing_in(path)
    return [ImageFile(path)]


def _nothing_in(path: str) -> list[ImageFile]:
    return [ImageFile(path, error="holds no images")]


def _not_here(path: str, label: str = "") -> ImageFile:
    return ImageFile(path, label, error="not a local file: download it first")


def _images_below(path: str) -> list[ImageFile]:
    unlisted: list[OSError] = []
    images = [
        ImageFile(os.path.join(folder, name))
        for folder, _, names in os.walk(path, onerror=unlisted.append)
        for name in names
        if os.path.splitext(name)[1].lower() in EXTENSIONS
    ]
    images += [
        ImageFile(error.filename or path, error=f"cannot be listed: {error.strerror}")
        for error in unlisted
    ]
    return sorted(images, key=lambda file: Path(file.path))


def _images_in_manifest(path: str, in_store: bool) -> list[ImageFile]:
    """What a manifest names; its labels, where it has some, come along."""
    images = []
    for found in Manifest(path, needs_labels=False).entries():
        if not isinstance(found, Entry):
            images.append(ImageFile(found.path, found.label, error=found.reason))
        elif is_remote(found.path) and not in_store:
            images.append(_not_here(found.path, found.label))
        else:
            images.append(ImageFile(found.path, found.label))
    return images


def _images_in_store(path: str) -> list[ImageFile]:
    if has_image_name(path):
        return [ImageFile(path)]
    found = remote_files(path.rstrip("/"))
    return [ImageFile(one) for one in found if has_image_name(one)]


def files_in_archive(source: Archive) -> Iterator[ImageFile]:
    """Yields the images of an archive with what they hold.

    An archive that is damaged, or made to fill disks, ends with an entry of its own that has an
    error. Members whose names do not end like an image's are skipped, as in folders.
    """
    num_found = 0
    try:
        for found in source.contents():
            if isinstance(found, Unpacked):
                yield ImageFile(found.path, content=found.content)
            elif has_image_name(found.path):
                yield ImageFile(found.path, error=found.reason)
            else:
                continue
            num_found += 1
    except UnusableDataset as error:
        yield ImageFile(source.path, error=error.what.rstrip("."))
        return
    if not num_found:
        yield from _nothing_in(source.path)
