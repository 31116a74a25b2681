"""The index of a segment: which pixels' features it holds, and where."""

import io
import os
import re
import zlib
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from absl import logging

from trainer.remote_files import write_replacing

# Of a key, of the place of a tensor in the segment's file, and of its bytes' checksum.
ENTRY = np.dtype([("key", "V32"), ("offset", "<i8"), ("length", "<i4"), ("crc32", "<u4")])
_NAME = re.compile(r"(?P<segment>[0-9a-f]{32})-(?P<crc32>[0-9a-f]{8})\.index")


@dataclass(frozen=True)
class Segment:
    """A complete segment.

    Attributes:
      folder: of its trunk.
      name: 32 hexadecimal digits.
      crc32: of the index, eight hexadecimal digits.
    """

    folder: str
    name: str
    crc32: str

    @property
    def tensors(self) -> str:
        """File of the tensors."""
        return tensors_path(self.folder, self.name)

    @property
    def index(self) -> str:
        """File of the index."""
        return os.path.join(self.folder, f"{self.name}-{self.crc32}.index")


def tensors_path(folder: str, name: str) -> str:
    """Where a segment's tensors are."""
    return os.path.join(folder, f"{name}.tensors")


def list_segments(folder: str) -> list[Segment]:
    """Every segment of a trunk that has an index, by name."""
    names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    found = (_NAME.fullmatch(name) for name in sorted(names))
    return [Segment(folder, match["segment"], match["crc32"]) for match in found if match]


def write_index(folder: str, name: str, entries: np.ndarray) -> Segment:
    """Writes the index of a segment whose tensors are complete: from now on it is found.

    Args:
      folder: of the trunk.
      name: of the segment.
      entries: of dtype `ENTRY`.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.sort(entries, order="offset"), allow_pickle=False)
    content = buffer.getvalue()
    segment = Segment(folder, name, f"{zlib.crc32(content):08x}")
    write_replacing(segment.index, content)
    return segment


def read_index(segment: Segment) -> np.ndarray | None:
    """The entries of a segment; None, with a warning, if they are damaged or gone."""
    try:
        with tf.io.gfile.GFile(segment.index, "rb") as file:
            content = file.read()
    except tf.errors.OpError:
        return None
    if f"{zlib.crc32(content):08x}" != segment.crc32:
        logging.warning("%s is damaged: its images pass the trunk again.", segment.index)
        return None
    return np.load(io.BytesIO(content), allow_pickle=False)
