"""TFX's file functions for stores that speak S3.

TFX hands `s3://` to TensorFlow, which has no client for it any more. Importing this module
registers a plug-in in its place, as the plug-ins of TFX itself do.
"""

import fnmatch
import io
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tfx.dsl.io import filesystem, filesystem_registry
from tfx.dsl.io.filesystem import PathType

from trainer.store import s3

_BEFORE_TENSORFLOW = -1


class _Writer(io.BytesIO):
    """Bytes that become a file when they are complete."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri

    def close(self) -> None:
        if not self.closed:
            s3.write_bytes(self._uri, self.getvalue())
        super().close()


class S3Filesystem(filesystem.Filesystem):
    """Files below `s3://` and `minio://`. Folders are what names have in common."""

    SUPPORTED_SCHEMES = ("s3://", "minio://")

    @staticmethod
    def open(name: PathType, mode: str = "r") -> Any:
        """A small file, read or written as a whole."""
        uri = _text(name)
        if mode.startswith("r"):
            stream: io.BytesIO = io.BytesIO(_or_not_found(s3.read_bytes, uri))
        else:
            stream = _Writer(uri)
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding="utf-8")

    @staticmethod
    def copy(src: PathType, dst: PathType, overwrite: bool = False) -> None:
        """Copies within a store."""
        s3.write_bytes(_text(dst), _or_not_found(s3.read_bytes, _text(src)))

    @staticmethod
    def exists(path: PathType) -> bool:
        """Whether there is a file or a folder."""
        return s3.is_file(_text(path)) or s3.is_dir(_text(path))

    @staticmethod
    def glob(pattern: PathType) -> list[PathType]:
        """Files whose address matches; the wildcards must be in its last part."""
        folder, name = os.path.split(_text(pattern))
        folders, files = s3.list_dir(folder)
        return [f"{folder}/{one}" for one in fnmatch.filter([*folders, *files], name)]

    @staticmethod
    def isdir(path: PathType) -> bool:
        """Whether there are files below."""
        return s3.is_dir(_text(path))

    @staticmethod
    def listdir(path: PathType) -> list[PathType]:
        """Names in a folder; those of folders end in a slash, as TensorFlow's do of buckets."""
        folders, files = s3.list_dir(_text(path))
        return [*(f"{folder}/" for folder in folders), *files]

    @staticmethod
    def makedirs(path: PathType) -> None:
        """Nothing to do."""

    @staticmethod
    def mkdir(path: PathType) -> None:
        """Nothing to do."""

    @staticmethod
    def remove(path: PathType) -> None:
        """Removes a file."""
        _or_not_found(s3.remove, _text(path))

    @staticmethod
    def rmtree(path: PathType) -> None:
        """Removes all files below."""
        s3.remove_tree(_text(path))

    @staticmethod
    def walk(
        top: PathType, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterable[tuple[PathType, list[PathType], list[PathType]]]:
        """As `os.walk` does, from the top down."""
        return _walk(_text(top))


def _walk(top: str) -> Iterator[tuple[PathType, list[PathType], list[PathType]]]:
    folders, files = s3.list_dir(top)
    yield top, list(folders), list(files)
    for folder in folders:
        yield from _walk(f"{top.rstrip('/')}/{folder}")


def _text(path: PathType) -> str:
    return path.decode() if isinstance(path, bytes) else path


def _or_not_found(act: Callable[[str], Any], uri: str) -> Any:
    try:
        return act(uri)
    except FileNotFoundError as error:
        raise filesystem.NotFoundError(str(error)) from error


filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(S3Filesystem, _BEFORE_TENSORFLOW)
