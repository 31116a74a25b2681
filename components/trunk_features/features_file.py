"""Writes one file of features, and its new rows into the store."""

import os
import uuid
from collections.abc import Iterable
from contextlib import ExitStack
from typing import NamedTuple

import tensorflow as tf
from absl import logging

from components.trunk_features.store.reading import Found, TensorFiles
from components.trunk_features.store.writing import SegmentWriter
from trainer import keys
from trainer.errors import ThawError
from trainer.remote_files import replacing

PARTIAL_FOLDER = "partial"


class Stored(NamedTuple):
    """A row whose features are in the store: the example without them, and where they are."""

    about: bytes
    found: Found


class FeaturesFile:
    """A file of features under a temporary name.

    Attributes:
      num_rows: written so far.
    """

    def __init__(self, target: str, store_folder: str = "") -> None:
        """Opens the file; new rows go into the store's folder as well, if there is one."""
        self.num_rows = 0
        self._store_folder = store_folder
        self._segment: SegmentWriter | None = None
        self._stored = TensorFiles()
        # Not beside the target: readers take every file there.
        folder = os.path.join(os.path.dirname(os.path.dirname(target)), PARTIAL_FOLDER)
        tf.io.gfile.makedirs(folder)
        self._complete = ExitStack()
        partial = self._complete.enter_context(
            replacing(target, os.path.join(folder, uuid.uuid4().hex))
        )
        self._writer = tf.io.TFRecordWriter(partial)

    def write(self, about: bytes, features: bytes, key: bytes = b"") -> None:
        """Adds a row: a serialized example without features, and a serialized tensor.

        With a key it goes into the store.
        """
        self._write(about, features)
        if key and self._store_folder:
            self._segment = self._segment or self._open_segment()
        if key and self._segment:
            self._segment.add(key, features)

    def copy(self, rows: Iterable[Stored]) -> None:
        """Adds rows whose features are in the store.

        Raises:
          ThawError: if they are not there any more.
        """
        for row in rows:
            features = self._stored.read(row.found)
            if features is None:
                raise ThawError(
                    "has changed since it was read a moment ago.",
                    where=row.found.path,
                    to_do="If somebody has deleted the trunk store, run the same command again.",
                )
            self._write(row.about, features)

    def finish(self) -> None:
        """Gives the file its name, and then the rows to the store."""
        self._writer.close()
        self._complete.close()
        if self._segment:
            self._segment.finish()

    def _write(self, about: bytes, features: bytes) -> None:
        self.num_rows += 1
        example = tf.train.Example.FromString(about)
        example.features.feature[keys.TRUNK].bytes_list.value.append(features)
        self._writer.write(example.SerializeToString(deterministic=True))

    def _open_segment(self) -> SegmentWriter | None:
        """None, with a warning, where the store cannot be written: it may be another's."""
        try:
            return SegmentWriter(self._store_folder)
        except tf.errors.OpError as error:
            logging.warning("%s cannot be written: %s", self._store_folder, error.message)
            self._store_folder = ""
            return None
