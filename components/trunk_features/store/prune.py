"""What a store holds, and how it is kept small."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import tensorflow as tf

from components.trunk_features.store.index import Segment, list_segments, read_index, tensors_path
from components.trunk_features.store.trunks import ABOUT_FILE, TrunkAbout, read_about

# What was used so recently may be in use.
_IN_USE_SECS = 3600.0


@dataclass(frozen=True)
class SegmentState:
    """A segment as it is on disk.

    Attributes:
      segment: its names.
      images: number of tensors; None if the index is damaged.
      num_bytes: of both files.
      used: seconds since the epoch: when a run last opened it, or wrote it on a remote store.
    """

    segment: Segment
    images: int | None
    num_bytes: int
    used: float


@dataclass(frozen=True)
class TrunkState:
    """What a store holds of one trunk.

    Attributes:
      about: the trunk; None if its description is damaged or gone.
      folder: where it is.
      segments: complete ones.
      leftovers: files that belong to no complete segment, with their bytes.
    """

    about: TrunkAbout | None
    folder: str
    segments: Sequence[SegmentState] = ()
    leftovers: dict[str, int] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Number of tensors that can be found."""
        return sum(one.images or 0 for one in self.segments)

    @property
    def num_bytes(self) -> int:
        """Of everything in the folder."""
        return sum(one.num_bytes for one in self.segments) + sum(self.leftovers.values())


@dataclass(frozen=True)
class Pruned:
    """What was removed: number of tensors, and bytes of all files."""

    images: int
    num_bytes: int


def look(store: str) -> list[TrunkState]:
    """Lists the trunks of a store, the largest first. Nothing if there is no such folder."""
    if not tf.io.gfile.isdir(store):
        return []
    folders = [os.path.join(store, name.rstrip("/")) for name in tf.io.gfile.listdir(store)]
    found = [_look_at(folder) for folder in folders if tf.io.gfile.isdir(folder)]
    return sorted(found, key=lambda trunk: -trunk.num_bytes)


def prune(store: str, max_bytes: int | None = None, now: float | None = None) -> Pruned:
    """Removes damaged and left-over files, then what was used longest ago.

    What was written or used within the last hour stays: a run may be using it.

    Args:
      store: may be missing.
      max_bytes: how much may stay; None: everything that can be used.
      now: seconds since the epoch.
    """
    before = (now or time.time()) - _IN_USE_SECS
    trunks = look(store)
    removed_images = removed_bytes = 0
    for trunk in trunks:
        for path, num_bytes in trunk.leftovers.items():
            if _modified(path) < before:
                _remove(path)
                removed_bytes += num_bytes
    segments = sorted((one for trunk in trunks for one in trunk.segments), key=lambda one: one.used)
    excess = sum(one.num_bytes for one in segments) - max_bytes if max_bytes is not None else 0
    for one in segments:
        if one.used < before and (excess > 0 or one.images is None):
            _remove(one.segment.index)
            _remove(one.segment.tensors)
            excess -= one.num_bytes
            removed_images += one.images or 0
            removed_bytes += one.num_bytes
    return Pruned(removed_images, removed_bytes)


def _look_at(folder: str) -> TrunkState:
    segments = [_state(segment) for segment in list_segments(folder)]
    known = {ABOUT_FILE}
    for one in segments:
        known |= {os.path.basename(one.segment.index), os.path.basename(one.segment.tensors)}
    names = (name for name in tf.io.gfile.listdir(folder) if name not in known)
    paths = (os.path.join(folder, name) for name in names)
    return TrunkState(read_about(folder), folder, segments, {path: _size(path) for path in paths})


def _state(segment: Segment) -> SegmentState:
    entries = read_index(segment)
    size = _size(segment.index) + _size(tensors_path(segment.folder, segment.name))
    return SegmentState(
        segment, None if entries is None else len(entries), size, _modified(segment.index)
    )


def _size(path: str) -> int:
    try:
        return int(tf.io.gfile.stat(path).length)
    except tf.errors.OpError:
        return 0


def _modified(path: str) -> float:
    try:
        return float(tf.io.gfile.stat(path).mtime_nsec) / 1e9
    except tf.errors.OpError:
        return 0.0


def _remove(path: str) -> None:
    if tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)
