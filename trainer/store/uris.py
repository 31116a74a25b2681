"""Addresses of a store: the one place that knows schemes.

A cluster's nodes reach artifacts in one of three ways (`Kind`). Which one holds for a process,
the variable `THAW_STORE` says; without it files are reached as they are named.
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import PurePosixPath

VARIABLE = "THAW_STORE"

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://")
_S3 = ("s3", "minio")
_BUCKET = re.compile(r"^([a-z][a-z0-9+.-]*)://[^/]+")


class Kind(str, Enum):
    """How the nodes of a cluster reach artifacts.

    DIRECT: TensorFlow reads and writes the store itself, which it can on `gs://` only.
    MOUNTED: every pod mounts a volume that stands for the store; nothing is copied.
    STAGED: nodes work on local copies, which the pipeline's launcher downloads and uploads.
    """

    DIRECT = "direct"
    MOUNTED = "mounted"
    STAGED = "staged"


@dataclass(frozen=True)
class StoreSettings:
    """What a process must know of the store.

    Attributes:
      kind: see `Kind`.
      holds: MOUNTED: the address that the volume stands for, such as `s3://bucket/root`.
      mount_path: MOUNTED: the folder where it is mounted.
    """

    kind: Kind = Kind.DIRECT
    holds: str = ""
    mount_path: str = ""

    def to_json(self) -> str:
        """For `VARIABLE`."""
        return json.dumps({**asdict(self), "kind": self.kind.value}, sort_keys=True)


def from_environment(environ: Mapping[str, str] = os.environ) -> StoreSettings:
    """The settings that this process was started with."""
    values = json.loads(environ.get(VARIABLE) or "{}")
    return StoreSettings(**{**values, "kind": Kind(values.get("kind", Kind.DIRECT))})


def is_remote(path: str) -> bool:
    """Whether a path is an address in a store rather than a path of this machine."""
    return "://" in path


def is_s3(path: str) -> bool:
    """Whether a path is in a store that speaks S3, which TensorFlow does not."""
    return scheme_of(path) in _S3


def scheme_of(path: str) -> str:
    """`gs` of `gs://bucket/key`; empty for a local path."""
    match = _SCHEME.match(path)
    return match.group(1) if match else ""


def has_bucket(path: str) -> bool:
    """Whether an address names a bucket."""
    return bool(_BUCKET.match(path))


def bucket_path(uri: str) -> str:
    """`bucket/key` of `s3://bucket/key`."""
    return _SCHEME.sub("", uri).rstrip("/")


def is_within(path: str, folder: str) -> bool:
    """Whether a path or an address is `folder` or below it."""
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def is_path_within(path: str, folder: str) -> bool:
    """The same of full local paths, which may hold `..`."""
    normal = PurePosixPath(os.path.normpath(path))
    return normal.is_absolute() and normal.is_relative_to(folder)


def to_mount(text: str, settings: StoreSettings) -> str:
    """Replaces addresses in a text, such as an argument in JSON, by paths in the mount.

    Example:
      >>> to_mount("s3://b/root/images", StoreSettings(Kind.MOUNTED, "s3://b/root", "/store"))
      '/store/images'
    """
    return _replaced(text, settings.holds, settings.mount_path)


def from_mount(text: str, settings: StoreSettings) -> str:
    """Undoes `to_mount`."""
    return _replaced(text, settings.mount_path, settings.holds)


def _replaced(text: str, old: str, new: str) -> str:
    """Replaces `old` where it is a whole address or the start of one."""
    pattern = rf"(?<![\w/.-]){re.escape(old.rstrip('/'))}(?=[/\"'\\\s,;]|$)"
    return re.sub(pattern, lambda _: new.rstrip("/"), text)


def local_copy(uri: str) -> str:
    """Where this machine keeps its own copy of what is in the store."""
    return os.path.join(_copies_dir(), scheme_of(uri), bucket_path(uri))


def address_of(path: str) -> str:
    """Undoes `local_copy`; any other path is its own address."""
    if not is_within(path, _copies_dir()):
        return path
    scheme, _, rest = os.path.relpath(path, _copies_dir()).partition("/")
    return f"{scheme}://{rest}"


def _copies_dir() -> str:
    return os.path.join(tempfile.gettempdir(), "thaw-store")
