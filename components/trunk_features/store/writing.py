"""Adds features to a store: one segment a writer, which appears as a whole or not at all."""

import uuid
import zlib

import numpy as np
import tensorflow as tf

from components.trunk_features.store.index import ENTRY, tensors_path, write_index

PARTIAL = ".partial"


class SegmentWriter:
    """A segment that is being written. Without `finish` nothing of it is found."""

    def __init__(self, folder: str) -> None:
        """Opens a segment of a trunk's folder under a temporary name."""
        tf.io.gfile.makedirs(folder)
        self._folder = folder
        self._name = uuid.uuid4().hex
        self._partial = tensors_path(folder, self._name) + PARTIAL
        self._file = tf.io.gfile.GFile(self._partial, "wb")
        self._entries: list[tuple[bytes, int, int, int]] = []
        self._end = 0

    def add(self, key: bytes, features: bytes) -> None:
        """Adds the serialized tensor that belongs to a key of 32 bytes."""
        self._file.write(features)
        self._entries.append((key, self._end, len(features), zlib.crc32(features)))
        self._end += len(features)

    def finish(self) -> None:
        """Gives the segment its name, and then its index."""
        self._file.close()
        tf.io.gfile.rename(self._partial, tensors_path(self._folder, self._name))
        write_index(self._folder, self._name, np.array(self._entries, ENTRY))
