"""Reads numbers and words from a file's bytes inside a graph, in few operations."""

import numpy as np
import tensorflow as tf


class HeaderBytes:
    """A file's bytes; asked for a place beyond the end, the last byte is repeated.

    So no read fails. A reader that walks from block to block has to compare its places
    with `size` itself.

    Args:
      content: string scalar, not empty.
    """

    def __init__(self, content: tf.Tensor) -> None:
        self._data = tf.io.decode_raw(content, tf.uint8)
        self.size = tf.size(self._data, tf.int64)
        self._last = self.size - 1

    def at(self, places: tf.Tensor) -> tf.Tensor:
        """The bytes at these places, none below 0: int64 of the shape of `places`."""
        return tf.cast(tf.gather(self._data, tf.minimum(places, self._last)), tf.int64)

    def window(self, start: tf.Tensor | int, count: int) -> tf.Tensor:
        """`count` bytes from each place on: int64 of the shape of `start` and `count`."""
        if isinstance(start, int):
            return self.at(tf.constant(start + np.arange(count), tf.int64))
        return self.at(tf.expand_dims(start, -1) + np.arange(count))

    def big(self, start: tf.Tensor | int, count: int) -> tf.Tensor:
        """The unsigned big-endian integers of `count` bytes, int64."""
        return big_endian(self.window(start, count))

    def little(self, start: tf.Tensor | int, count: int) -> tf.Tensor:
        """The unsigned little-endian integers of `count` bytes, int64."""
        return tf.reduce_sum(self.window(start, count) * 256 ** np.arange(count), axis=-1)

    def has(self, start: tf.Tensor | int, word: bytes) -> tf.Tensor:
        """Whether `word` stands at each place, bool."""
        return tf.reduce_all(tf.equal(self.window(start, len(word)), list(word)), axis=-1)


def big_endian(digits: tf.Tensor) -> tf.Tensor:
    """Bytes along the last axis, at most seven, to an integer: int64."""
    return tf.reduce_sum(digits * 256 ** np.arange(digits.shape[-1])[::-1], axis=-1)


def number_of(word: bytes) -> int:
    """What `HeaderBytes.big` reads where this word stands."""
    return int.from_bytes(word, "big")


def any_of(values: tf.Tensor, wanted: list[int] | tuple[int, ...]) -> tf.Tensor:
    """Whether each of the values is among these integers: bool of the shape of `values`."""
    return tf.reduce_any(tf.equal(tf.expand_dims(values, -1), wanted), axis=-1)


class Blocks:
    """Those of a file's blocks, by their places, that one is looking for.

    Attributes:
      mask: bool [n], which of all blocks.
      count: int64 scalar.
      place: int64 scalar, of the last one; 0 if there is none.
    """

    def __init__(self, starts: tf.Tensor, mask: tf.Tensor) -> None:
        self.mask = mask
        self.count = tf.math.count_nonzero(mask)
        self.place = tf.reduce_max(tf.concat([tf.where(mask, starts, 0), [0]], axis=0))


def starts_with(content: tf.Tensor, magic: bytes) -> tf.Tensor:
    """Whether a file, a string scalar, begins with these bytes."""
    return tf.equal(tf.strings.substr(content, 0, len(magic)), magic)


def part(content: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """The bytes `[start, start + length)` of a string scalar; nothing beyond its end.

    TensorFlow, asked for bytes beyond the end, quotes the file in an error that Python
    cannot decode.
    """
    start = tf.minimum(start, tf.cast(tf.strings.length(content), tf.int64))
    return tf.strings.substr(content, start, tf.maximum(length, 0))


def part_if(
    condition: tf.Tensor, content: tf.Tensor, start: tf.Tensor, length: tf.Tensor
) -> tf.Tensor:
    """As `part`, if a bool scalar says so; else empty."""
    return part(content, start, tf.where(condition, length, 0))
