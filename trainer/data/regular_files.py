"""Reads local files of unknown origin: regular files only, and no more than a limit.

A named pipe blocks the process that opens it and `/dev/zero` never ends, however harmless the name
of the link to it looks.
"""

import os
import stat

DEFAULT_MAX_FILE_BYTES = 64 * 2**20
LARGEST_MAX_FILE_BYTES = 2**40
"""What `data.max_file_bytes` is where nothing is set, and at most."""

_CHUNK_BYTES = 2**16
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnreadableFile(OSError):
    """The file was not read. The message is a short reason, the same for similar files."""


def read_regular_file(path: str, max_bytes: int) -> bytes:
    """Returns the content of a regular file, or of what a link to one points to.

    Never blocks on a pipe or a device, and reads at most one byte more than the limit,
    even if the file grows meanwhile.

    Args:
      path: of a local file.
      max_bytes: larger files are refused, without reading them where their size is known.

    Raises:
      UnreadableFile: if it is not a regular file, is too large, or cannot be read.
    """
    try:
        # Before opening too: opening a pipe wakes its writer, and a socket cannot be opened.
        _check(os.stat(path), max_bytes)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            size = _check(os.fstat(descriptor), max_bytes)
            return _read(descriptor, size, max_bytes)
        finally:
            os.close(descriptor)
    except UnreadableFile:
        raise
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # a name that no file can have: a NUL, half a surrogate pair
        raise UnreadableFile("cannot be read: no file can have this name") from error


def _check(status: os.stat_result, max_bytes: int) -> int:
    """Returns the size of a regular file that is not too large."""
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise UnreadableFile(f"{kind}, not a regular file")
    if status.st_size > max_bytes:
        raise _too_large(max_bytes)
    return status.st_size


def _read(descriptor: int, size: int, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    left = max_bytes + 1
    while left and (chunk := os.read(descriptor, min(left, max(size + 1, _CHUNK_BYTES)))):
        chunks.append(chunk)
        left -= len(chunk)
    if not left:
        raise _too_large(max_bytes)
    return b"".join(chunks)


def _too_large(max_bytes: int) -> UnreadableFile:
    return UnreadableFile(f"larger than {max_bytes:,} bytes")
