"""Decides whether images have changed since an earlier run, before ingestion is skipped.

TFX's own driver fingerprints the number, the total size and the times of all files. An image
that is moved to another class changes none of these, and its patterns take `[2024]` in a path
for a choice of characters. Here every file counts by its name, and a path is a path.
"""

import glob
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from apache_beam.io.filesystems import FileSystems
from tfx.components.example_gen.driver import FileBasedDriver
from tfx.components.example_gen.input_processor import InputProcessor
from tfx.proto import example_gen_pb2, range_config_pb2

from components.image_example_gen.sources.find import find_source
from components.image_example_gen.sources.folder import Folder
from trainer.files import sha256_of_file
from trainer.store.uris import is_remote

# Up to here reading the files takes a second or two, and what counts is their content: a copy
# of the same images, or a fresh checkout of them, needs no new training.
MAX_HASHED_BYTES = 256 * 2**20


@dataclass(frozen=True)
class FileState:
    """What the fingerprint knows of a file.

    Attributes:
      path: where it is, in the words of its file system.
      size_bytes: its size; -1 where it is no regular file or cannot be looked at.
      modified: when it was changed, in the units of its file system.
    """

    path: str
    size_bytes: int
    modified: str


class Driver(FileBasedDriver):
    """TFX's driver of an ExampleGen, with `fingerprint` in place of its own."""

    def get_input_processor(
        self,
        splits: Iterable[example_gen_pb2.Input.Split],
        range_config: range_config_pb2.RangeConfig | None = None,
        input_base_uri: str | None = None,
    ) -> InputProcessor:
        """Returns what resolves the fingerprint of `input_base_uri`."""
        return _ImageFolder(splits, str(input_base_uri))


class _ImageFolder(InputProcessor):
    """One source of images; there are no spans and no versions of it."""

    def __init__(self, splits: Iterable[example_gen_pb2.Input.Split], images_dir: str) -> None:
        super().__init__(splits)
        self._images_dir = images_dir

    def get_pattern_for_span_version(self, pattern: str, span: int, version: int | None) -> str:
        return pattern

    def get_latest_span(self) -> int:
        return 0

    def get_input_fingerprint(self, span: int, version: int | None) -> str:
        return fingerprint(self._images_dir)


def fingerprint(images_dir: str) -> str:
    """Returns 64 hexadecimal digits that change whenever the ingestion might.

    They depend on each file's path within `images_dir`, its size and, of at most
    `MAX_HASHED_BYTES` of local files in all, its content; of others its time of modification.
    Files in a store that a manifest names count by their addresses alone.

    Args:
      images_dir: what `data.images` names.
    """
    digest, num_bytes = _combine(images_dir, lambda file: file.modified)
    if num_bytes <= MAX_HASHED_BYTES:
        digest, _ = _combine(images_dir, _content)
    return f"{digest:064x}"


def _combine(images_dir: str, content_of: Callable[[FileState], str]) -> tuple[int, int]:
    """The sum of a hash for each file, and the files' bytes; of a million none is kept."""
    digest = num_bytes = 0
    for file in _states(images_dir):
        num_bytes += file.size_bytes
        path = file.path.removeprefix(images_dir.rstrip("/"))
        line = f"{path}\0{file.size_bytes}\0{content_of(file)}\n"
        digest += int(hashlib.sha256(line.encode("utf-8", "surrogateescape")).hexdigest(), 16)
    return digest % 2**256, num_bytes


def _content(file: FileState) -> str:
    """The hash of a file's bytes; its time where it is not local or cannot be read."""
    if file.size_bytes < 0 or is_remote(file.path):
        return file.modified
    try:
        return sha256_of_file(file.path)
    except OSError:
        return file.modified


def _states(images_dir: str) -> Iterator[FileState]:
    source = find_source(images_dir)
    if is_remote(images_dir) and isinstance(source, Folder):
        # One listing tells size and time of all; a look at each would take hours of a million.
        yield from _remote_states(f"{glob.escape(images_dir.rstrip('/'))}/**")
        return
    for path in source.files():
        if not is_remote(path):
            yield _local_state(path)
        elif path == images_dir:
            yield from _remote_states(glob.escape(path))
        else:
            yield FileState(path, 0, "")


def _remote_states(pattern: str) -> Iterator[FileState]:
    for match in FileSystems.match([pattern])[0].metadata_list:
        modified = str(match.last_updated_in_seconds)
        yield FileState(match.path, match.size_in_bytes, modified)


def _local_state(path: str) -> FileState:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return FileState(path, -1, "unreadable")
    if not stat.S_ISREG(found.st_mode):
        return FileState(path, -1, f"no regular file: {stat.S_IFMT(found.st_mode):o}")
    return FileState(path, found.st_size, str(found.st_mtime_ns))
