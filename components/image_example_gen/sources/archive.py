"""Archives of class folders: zip and tar, unpacked safely into a folder of the node's own.

An archive comes from anywhere: what would be written outside the folder, or fill the disk, is
rejected or ends the run.
"""

import errno
import gzip
import io
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
_TWICE = "another file of this name is in the archive"
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


class Unpacked(NamedTuple):
    """An image of an archive: its name as people know it, and what it holds."""

    path: str
    content: bytes


Store = Callable[[Member, OpenMember], tuple[int, str]]
"""Keeps a member; returns bytes written, and why it is rejected or nothing."""


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
            raise self._cannot_be_unpacked(error) from error
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

    def contents(self) -> Iterator[Unpacked | Rejected]:
        """Every member in its order, without a folder to unpack into: one at a time in memory.

        Raises:
          UnusableDataset: as `check`, once what comes before the damage was yielded.
        """
        buffer = io.BytesIO()
        names = set[str]()

        def keep(member: Member, open_member: OpenMember) -> tuple[int, str]:
            buffer.seek(0)
            buffer.truncate()
            if os.path.normpath(member.name) in names:
                return 0, _TWICE
            written, problem = _copy(open_member, buffer, self.max_file_bytes)
            if not problem:
                names.add(os.path.normpath(member.name))
            return written, problem

        try:
            for member, problem in self._store_members(keep):
                path = os.path.join(self.path, member.name)
                yield reject(path, problem) if problem else Unpacked(path, buffer.getvalue())
        except _UNREADABLE as error:
            raise self._cannot_be_unpacked(error) from error
        except OSError as error:
            reason = error.strerror or error
            raise UnusableDataset(f"cannot be read: {reason}.", where=self.path) from error

    def files(self) -> Iterator[str]:
        """See `Source.files`."""
        yield self.path

    def _cannot_be_unpacked(self, error: Exception) -> UnusableDataset:
        return UnusableDataset(
            f"cannot be unpacked: {error}.",
            where=self.path,
            to_do="Create or download the archive again.",
        )

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
        store = partial(_write, root, max_bytes=self.max_file_bytes)
        with open(os.path.join(self.folder, _REJECTED), "w", encoding="utf-8") as rejected:
            for member, problem in self._store_members(store):
                if problem:
                    entry = reject(os.path.join(self.path, member.name), problem)
                    rejected.write(records.dumps(entry) + "\n")

    def _store_members(self, store: Store) -> Iterator[tuple[Member, str]]:
        """Stores each member that may be read; yields it and why it is rejected or nothing."""
        limit = max(_HARMLESS_BYTES, _MOST_TIMES * os.path.getsize(self.path))
        total = 0
        for member, open_member in self._members():
            problem = member.problem or self._problem(member)
            if not problem:
                written, problem = store(member, open_member)
                total += written
            yield member, problem
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


def _write(root: str, member: Member, open_member: OpenMember, max_bytes: int) -> tuple[int, str]:
    """A `Store` on the disk, below `root`."""
    target = os.path.join(root, member.name)
    if os.path.exists(target):
        return 0, _TWICE
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "xb") as file:
            written, problem = _copy(open_member, file, max_bytes)
    except gzip.BadGzipFile:  # an OSError; what follows cannot be read either
        raise
    except (OSError, ValueError) as error:
        _remove(target)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return 0, "its name is not possible here"
    if problem:
        _remove(target)
    return written, problem


def _copy(open_member: OpenMember, target: IO[bytes], max_bytes: int) -> tuple[int, str]:
    """A `Store` in an open file; of a member that is rejected a part may be in it."""
    written = 0
    try:
        with open_member() as source:
            while chunk := source.read(_CHUNK_BYTES):
                written += len(chunk)
                if written > max_bytes:
                    return written, f"larger than {max_bytes:,} bytes"
                target.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return written, _DAMAGED
    return written, ""


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.remove(path)
