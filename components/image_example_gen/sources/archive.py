"""Archives of class folders: zip and tar, unpacked safely into a folder of the node's own.

An archive comes from anywhere: what would be written outside the folder, or fill the disk, is
rejected or ends the run.
"""

import errno
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import IO, NamedTuple

from components.image_example_gen.sources.entry import (
    Entry,
    Rejected,
    UnusableDataset,
    read_list,
    reject,
)
from components.image_example_gen.sources.folder import Folder, is_system_name
from trainer import records
from trainer.data.formats import has_image_name
from trainer.store.uris import is_remote

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

# Images hardly compress. What unpacks to more than this, and to more than a gigabyte, is made to
# fill disks.
_MOST_TIMES = 100
_HARMLESS_BYTES = 2**30
_CHUNK_BYTES = 2**20
_UNPACKED = "unpacked"
_REJECTED = "rejected.jsonl"
_DAMAGED = "damaged in the archive"
_UNREADABLE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
)


OpenMember = Callable[[], IO[bytes]]


class Member(NamedTuple):
    """A file in an archive: its name, its size as declared, why it is rejected or nothing."""

    name: str
    size_bytes: int
    problem: str


@dataclass(frozen=True)
class Archive:
    """A zip or tar archive. Members are read once, in their order.

    Attributes:
      path: of the archive; local.
      folder: where it is unpacked; empty: nowhere, to look at `files` alone.
      max_file_bytes: larger members are rejected without being unpacked.
    """

    path: str
    folder: str
    max_file_bytes: int

    def check(self) -> int:
        """Unpacks the archive; otherwise as `Source.check`.

        Raises:
          UnusableDataset: also if it cannot be read, or unpacks to far more than its own size.
        """
        try:
            self._unpack()
            return Folder(self._root()).check()
        except _UNREADABLE as error:
            raise UnusableDataset(
                f"cannot be unpacked: {error}.",
                where=self.path,
                to_do="Create or download the archive again.",
            ) from error
        except UnusableDataset as error:
            # People know the archive, not the folder that it was unpacked into.
            what = error.what.replace(self._root(), self.path)
            raise UnusableDataset(what, where=self.path, to_do=error.to_do) from error

    def entries(self) -> Iterator[Entry | Rejected]:
        """See `Source.entries`; once `check` has unpacked them."""
        for entry in Folder(self._root()).entries():
            name = os.path.relpath(entry.path, os.path.join(self.folder, _UNPACKED))
            known = os.path.join(self.path, name)
            if isinstance(entry, Entry):
                yield replace(entry, path=known, stored_at=entry.path)
            else:
                yield replace(entry, path=known)
        yield from read_list(os.path.join(self.folder, _REJECTED))

    def files(self) -> Iterator[str]:
        """See `Source.files`."""
        yield self.path

    def _root(self) -> str:
        """The folder of the class folders: often one folder in the archive holds everything."""
        root = os.path.join(self.folder, _UNPACKED)
        while len(names := sorted(os.listdir(root))) == 1:
            inner = os.path.join(root, names[0])
            if not os.path.isdir(inner):
                break
            root = inner
        return root

    def _unpack(self) -> None:
        root = os.path.join(self.folder, _UNPACKED)
        os.makedirs(root)
        limit = max(_HARMLESS_BYTES, _MOST_TIMES * os.path.getsize(self.path))
        total = 0
        with open(os.path.join(self.folder, _REJECTED), "w", encoding="utf-8") as rejected:
            for member, open_member in self._members():
                problem = member.problem or self._problem(member)
                if not problem:
                    written, problem = _write(root, member.name, open_member, self.max_file_bytes)
                    total += written
                if problem:
                    entry = reject(os.path.join(self.path, member.name), problem)
                    rejected.write(records.dumps(entry) + "\n")
                if total > limit:
                    raise UnusableDataset(
                        f"unpacks to more than {limit:,} bytes, {_MOST_TIMES} times its own size.",
                        where=self.path,
                        to_do="If it is no trap, unpack it yourself and give the folder.",
                    )

    def _problem(self, member: Member) -> str:
        if not _is_inside(member.name):
            return "its name leads out of the archive"
        if not has_image_name(member.name):
            return "the name does not end like an image's"
        if member.size_bytes > self.max_file_bytes:
            return f"larger than {self.max_file_bytes:,} bytes"
        return ""

    def _members(self) -> Iterator[tuple[Member, OpenMember]]:
        if is_remote(self.path):
            raise UnusableDataset(
                "archives are read from this machine's disk only.",
                where=self.path,
                to_do="Download it, or unpack it there and give the folder.",
            )
        if self.path.lower().endswith(".zip"):
            with zipfile.ZipFile(self.path) as archive:
                for zipped in archive.infolist():
                    if not zipped.is_dir() and not _is_system_path(zipped.filename):
                        yield _zip_member(zipped), partial(archive.open, zipped)
        else:
            with tarfile.open(self.path) as tar:
                for info in tar:
                    if not info.isdir() and not _is_system_path(info.name):
                        yield _tar_member(info), partial(_open_in_tar, tar, info)


def _open_in_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(info)
    assert content is not None  # of a regular file, which `_tar_member` has seen to
    return content


def _zip_member(info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16
    problem = ""
    if stat.S_ISLNK(mode):
        problem = "a link inside an archive"
    elif info.flag_bits & 1:
        problem = "encrypted in the archive"
    # Windows' own archiver used to write backslashes.
    return Member(info.filename.replace("\\", "/"), info.file_size, problem)


def _tar_member(info: tarfile.TarInfo) -> Member:
    problem = ""
    if info.issym() or info.islnk():
        problem = "a link inside an archive"
    elif not info.isfile():
        problem = "a device or a pipe inside an archive"
    return Member(info.name, info.size, problem)


def _is_inside(name: str) -> bool:
    """Whether a member stays in the folder that it is unpacked into, on any system."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0]


def _is_system_path(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(is_system_name(part) for part in parts if part not in (".", ".."))


def _write(root: str, name: str, open_member: OpenMember, max_bytes: int) -> tuple[int, str]:
    """Writes a member; bytes written, and why it is rejected or nothing."""
    target = os.path.join(root, name)
    if os.path.exists(target):
        return 0, "another file of this name is in the archive"
    written = 0
    try:
        with open_member() as source:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "xb") as file:
                while chunk := source.read(_CHUNK_BYTES):
                    written += len(chunk)
                    if written > max_bytes:
                        break
                    file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        _remove(target)
        return written, _DAMAGED
    except gzip.BadGzipFile:  # an OSError; what follows cannot be read either
        raise
    except (OSError, ValueError) as error:
        _remove(target)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return written, "its name is not possible here"
    if written > max_bytes:
        os.remove(target)
        return written, f"larger than {max_bytes:,} bytes"
    return written, ""


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.remove(path)
