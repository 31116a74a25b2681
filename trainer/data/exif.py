"""The orientation that a camera recorded, read inside a graph.

EXIF is a TIFF file without pictures (CIPA DC-008-2019, §4.5): a byte order, an offset, and
there a directory of twelve-byte entries. Only a directory without any irregularity is read
here. Of the others this says that they are irregular, so that the file is re-encoded by
Pillow, which forgives much; the two never have to agree on damage.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainer.data.header_bytes import HeaderBytes, starts_with
from trainer.data.rare import call_if, of_bytes

_PREFIX = b"Exif\0\0"
_ORIENTATION, _SHORT = 0x0112, 3
_ENTRY_BYTES = 12
# Of one value by the number of its type; nothing of types that nobody knows.
_TYPE_BYTES = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0])

# Any orientation but the usual one, in a packet of XMP. Its bytes need not be UTF-8.
_TURNED_BY_XMP = r'(?s)\C*tiff:Orientation(="|>)[2-8]\C*'


class Orientation(NamedTuple):
    """What a block of EXIF says.

    Attributes:
      value: int64 scalar, 1 to 8; 1 is upright.
      found: bool scalar; whether the tag is there.
      regular: bool scalar; if not, the other two mean nothing.
    """

    value: tf.Tensor
    found: tf.Tensor
    regular: tf.Tensor


def upright() -> Orientation:
    """The orientation of a file without EXIF."""
    return Orientation(tf.constant(1, tf.int64), tf.constant(False), tf.constant(True))


def orientation(block: tf.Tensor) -> Orientation:
    r"""Reads the orientation from a block of EXIF.

    Args:
      block: string scalar; empty if the file has none. It may begin with `Exif\0\0`.
    """
    return call_if(tf.strings.length(block) > 0, _read, block, otherwise=upright)


@of_bytes
def _read(block: tf.Tensor) -> Orientation:
    skipped = tf.where(starts_with(block, _PREFIX), len(_PREFIX), 0)
    # With one more byte, for no bytes at all cannot be looked at.
    data = HeaderBytes(tf.strings.join([tf.strings.substr(block, skipped, 2**31 - 1), b"\0"]))
    length = data.size - 1
    is_little = data.has(0, b"II*\0")
    regular = (is_little | data.has(0, b"MM\0*")) & (length >= 8)
    two = tf.where(is_little, [1, 256], [256, 1])
    four = tf.where(is_little, [1, 2**8, 2**16, 2**24], [2**24, 2**16, 2**8, 1])

    def number(digits: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(digits * tf.cast(weights, tf.int64), axis=-1)

    directory = number(data.window(4, 4), four)
    count = number(data.window(directory, 2), two)
    regular &= directory + 2 + count * _ENTRY_BYTES <= length
    starts = directory + 2 + _ENTRY_BYTES * tf.range(tf.where(regular, count, 0))
    entries = data.window(starts, _ENTRY_BYTES)
    is_tag = tf.equal(number(entries[:, 0:2], two), _ORIENTATION)
    types, counts = number(entries[:, 2:4], two), number(entries[:, 4:8], four)
    is_short = tf.equal(types, _SHORT) & tf.equal(counts, 1)
    # Pillow reads no entry after one whose value lies beyond the end.
    sizes = tf.gather(_TYPE_BYTES, tf.minimum(types, len(_TYPE_BYTES) - 1)) * counts
    fits = (sizes <= 4) | (number(entries[:, 8:12], four) + sizes <= length)
    regular &= tf.reduce_all(fits)
    regular &= (tf.math.count_nonzero(is_tag) <= 1) & tf.reduce_all(is_short | ~is_tag)
    value = tf.reduce_sum(tf.where(is_tag, number(entries[:, 8:10], two), 0))
    value = tf.where((value >= 1) & (value <= 8), value, 1)
    return Orientation(value, tf.reduce_any(is_tag), regular)


def turned_by_xmp(packet: tf.Tensor) -> tf.Tensor:
    """Whether a packet of XMP, a string, tells of an orientation: bool.

    To be asked of a file whose EXIF tells of none.
    """
    return tf.strings.regex_full_match(packet, _TURNED_BY_XMP)
