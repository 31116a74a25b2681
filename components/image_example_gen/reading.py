"""Reads image files, on this machine and elsewhere, one bad file costing no other."""

import os

from apache_beam.io.filesystems import FileSystems

from components.image_example_gen.inspect import ImageRejected
from trainer.data.regular_files import UnreadableFile, read_regular_file
from trainer.store import s3
from trainer.store.uris import is_remote, is_s3

_NOT_FOUND = 404


def read_file(path: str, max_bytes: int) -> bytes:
    """Returns the content of a file, without any decompression.

    Args:
      path: of a local file, or a URI of a file system that Beam reads, or of S3.
      max_bytes: larger files are rejected; no more than one byte above is ever read.

    Raises:
      ImageRejected: with the reason.
    """
    if is_remote(path):
        return _read_remote(path, max_bytes)
    if os.path.isdir(path):
        raise ImageRejected("a folder, not a file")
    try:
        return read_regular_file(path, max_bytes)
    except UnreadableFile as error:
        raise ImageRejected(str(error)) from error


def _read_remote(path: str, max_bytes: int) -> bytes:
    try:
        content = _content(path, max_bytes + 1)
    except Exception as error:
        # The clients of object stores raise errors of their own, with HTTP's codes. No access
        # to a bucket is a matter of all its files, a missing object of one.
        if not isinstance(error, OSError) and getattr(error, "code", None) != _NOT_FOUND:
            raise
        raise ImageRejected("cannot be read") from error
    if len(content) > max_bytes:
        raise ImageRejected(f"larger than {max_bytes:,} bytes")
    return content


def _content(uri: str, max_bytes: int) -> bytes:
    if is_s3(uri):
        return s3.read_bytes(uri, max_bytes)
    with FileSystems.open(uri, "application/octet-stream", "uncompressed") as file:
        return bytes(file.read(max_bytes))
