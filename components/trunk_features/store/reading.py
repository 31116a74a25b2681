"""Looks features up in a store. What is damaged or gone is not there."""

import os
import zlib
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from components.trunk_features.store.index import ENTRY, list_segments, read_index
from trainer.store.uris import is_remote

_KEY_BYTES = 32
_MOST_OPEN_FILES = 16


class Found(NamedTuple):
    """Where the features of one image are: a file, and a place in it."""

    path: str
    offset: int
    length: int
    crc32: int


class TensorFiles:
    """Reads tensors from the files of segments, some of which stay open."""

    def __init__(self) -> None:
        self._files: dict[str, tf.io.gfile.GFile] = {}
        self._damaged: set[str] = set()

    def read(self, found: Found) -> bytes | None:
        """The serialized tensor; None, with a warning, if the file is gone or damaged."""
        try:
            file = self._open(found.path)
            file.seek(found.offset)
            content = bytes(file.read(found.length))
        except tf.errors.OpError:
            content = b""
        if len(content) == found.length and zlib.crc32(content) == found.crc32:
            return content
        if found.path not in self._damaged:
            self._damaged.add(found.path)
            logging.warning("%s is damaged: its images pass the trunk again.", found.path)
        return None

    def _open(self, path: str) -> tf.io.gfile.GFile:
        if path not in self._files:
            if len(self._files) >= _MOST_OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            self._files[path] = tf.io.gfile.GFile(path, "rb")
        return self._files[path]


class StoreReader:
    """The segments that a trunk's folder held when it was opened.

    It takes 90 bytes of memory for each tensor in the store.
    """

    def __init__(self, folder: str) -> None:
        """Reads the indexes of all segments; a damaged one is left out with a warning."""
        indexes = [(segment, read_index(segment)) for segment in list_segments(folder)]
        usable = [(segment, entries) for segment, entries in indexes if entries is not None]
        self._paths = [segment.tensors for segment, _ in usable]
        entries = np.concatenate([np.empty(0, ENTRY), *(found for _, found in usable)])
        owners = np.repeat(np.arange(len(usable)), [len(found) for _, found in usable])
        # As four numbers: numpy compares bytes without their trailing zeros.
        keys = np.ascontiguousarray(entries["key"]).view(">u8").reshape(-1, _KEY_BYTES // 8)
        order = np.argsort(keys[:, 0], kind="stable")
        self._keys, self._first = keys[order], keys[order, 0]
        self._entries, self._owners = entries[order], owners[order]
        self._files = TensorFiles()

    def find(self, key: bytes) -> Found | None:
        """Where the features are that belong to a key; None if they are not there as written.

        The bytes are read and checked: what is found can be read once more.

        Args:
          key: 32 bytes.
        """
        wanted = np.frombuffer(key, ">u8")
        row = int(np.searchsorted(self._first, wanted[0]))
        while row < len(self._first) and self._first[row] == wanted[0]:
            if (self._keys[row] == wanted).all() and self._files.read(self._at(row)) is not None:
                return self._at(row)
            row += 1
        return None

    def _at(self, row: int) -> Found:
        entry = self._entries[row]
        path = self._paths[self._owners[row]]
        return Found(path, int(entry["offset"]), int(entry["length"]), int(entry["crc32"]))


def mark_used(folder: str) -> None:
    """Notes in the times of a trunk's files that they are in use, where the store is local."""
    if is_remote(folder):
        return
    for segment in list_segments(folder):
        with suppress(OSError):  # pruned meanwhile, or on a volume that is read-only
            os.utime(segment.index)
