"""Converts colours of an embedded ICC profile to sRGB, inside a graph.

Cameras, phones and screens write profiles of one kind: three curves that make values linear,
and the colours of red, green and blue light as a matrix (ICC.1:2022 §8.3.3, annex F.3).
Converted here, a photograph costs 256 table entries and a small product; re-encoded as PNG,
it would be five times as large. Profiles with tables, for inks and for grey values are left
to Pillow, as is everything irregular.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainer.data.header_bytes import HeaderBytes, any_of, big_endian, number_of
from trainer.data.rare import function_of

# What red, green and blue of sRGB are in XYZ, adapted to the profiles' D50 (columns): the
# profile of IEC 61966-2-1 by the International Color Consortium.
_SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
_FROM_XYZ = np.linalg.inv(_SRGB).astype("float32")

# As sRGB counts what is nearer to it than this: half a level of 255 and less.
_NEAR_MATRIX, _NEAR_CURVE = 2e-3, 2e-3

_MOST_BLACK = 1e-4

_HEADER_BYTES, _ENTRY_BYTES, _MOST_ENTRIES = 132, 12, 100
_COLOURS, _CURVES = (b"rXYZ", b"gXYZ", b"bXYZ"), (b"rTRC", b"gTRC", b"bTRC")
# Values are of red, green and blue, and converted to XYZ; and the mark of any profile.
_SIGNATURES = (b"RGB ", b"XYZ ", b"acsp")
_TABLES = (b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1")


class Conversion(NamedTuple):
    """From a profile's values to sRGB.

    Attributes:
      is_known: bool scalar; if not, the profile is of a kind that is not converted here.
      changes: bool scalar; whether the profile differs from sRGB.
      curves: float32 [3, 256], the linear light of each value of each colour.
      matrix: float32 [3, 3], from linear light to that of sRGB.
    """

    is_known: tf.Tensor
    changes: tf.Tensor
    curves: tf.Tensor
    matrix: tf.Tensor


def unchanged() -> Conversion:
    """Of a file without a profile."""
    return Conversion(tf.constant(True), tf.constant(False), tf.zeros([3, 256]), tf.zeros([3, 3]))


@function_of(((), tf.string), ((), tf.bool))
def read_profile(profile: tf.Tensor, is_grey: tf.Tensor) -> Conversion:
    """Reads an ICC profile.

    Args:
      profile: string scalar, not empty.
      is_grey: bool scalar, whether the picture has a single channel: a profile for three
        says nothing of it, and is ignored, as Pillow's library does.
    """
    data = HeaderBytes(profile)
    is_ignored = is_grey & data.has(16, b"RGB ") & (data.size >= _HEADER_BYTES)
    conversion = _read(data)
    return conversion._replace(
        is_known=conversion.is_known | is_ignored, changes=conversion.changes & ~is_ignored
    )


def convert(image: tf.Tensor, conversion: Conversion) -> tf.Tensor:
    """Converts uint8 [height, width, 3] to sRGB; unchanged if the profile does not differ."""

    def converted() -> tf.Tensor:
        values = tf.cast(image, tf.int32)
        linear = tf.stack(
            [tf.gather(conversion.curves[c], values[..., c]) for c in range(3)], axis=-1
        )
        mixed = tf.linalg.matmul(linear, conversion.matrix, transpose_b=True)
        return tf.cast(tf.round(255 * _encoded(tf.clip_by_value(mixed, 0, 1))), tf.uint8)

    return tf.cond(conversion.changes, converted, lambda: image)


def _encoded(linear: tf.Tensor) -> tf.Tensor:
    """From linear light to sRGB's values, both 0 to 1: IEC 61966-2-1."""
    power = 1.055 * tf.pow(tf.maximum(linear, 1e-6), 1 / 2.4) - 0.055
    return tf.where(linear <= 0.0031308, 12.92 * linear, power)


def _read(data: HeaderBytes) -> Conversion:
    head = data.window(0, _HEADER_BYTES)
    spaces = big_endian(tf.stack([head[16:20], head[20:24], head[36:40]]))
    count = big_endian(head[128:132])
    is_known = tf.reduce_all(tf.equal(spaces, [number_of(w) for w in _SIGNATURES]))
    is_known &= count <= _MOST_ENTRIES
    is_known &= _HEADER_BYTES + count * _ENTRY_BYTES <= data.size
    entries = _HEADER_BYTES + _ENTRY_BYTES * tf.range(tf.where(is_known, count, 0))
    entries = data.window(entries, 8)
    names, offsets = big_endian(entries[:, :4]), big_endian(entries[:, 4:])
    is_known &= ~tf.reduce_any(any_of(names, [number_of(word) for word in _TABLES]))
    wanted = np.array([[number_of(word)] for word in (*_COLOURS, *_CURVES)])
    matches = tf.equal(wanted, names)
    is_known &= tf.reduce_all(tf.equal(tf.math.count_nonzero(matches, axis=1), 1))
    places = tf.reduce_sum(tf.where(matches, offsets, 0), axis=1)
    colours, read_colours = _colours(data, places[:3])
    light, read_curves = _curves(data, places[3:, tf.newaxis])
    is_known &= tf.reduce_all(read_colours) & tf.reduce_all(read_curves)
    is_known &= tf.reduce_all(tf.math.is_finite(light))
    # A black that is not black is darkened by colour libraries, each in its way.
    is_known &= tf.reduce_max(light[:, 0]) <= _MOST_BLACK
    to_xyz = tf.transpose(colours)
    far = tf.reduce_max(tf.abs(to_xyz - _SRGB.astype("float32"))) > _NEAR_MATRIX
    far |= tf.reduce_max(tf.abs(_encoded(light) - _VALUES)) > _NEAR_CURVE
    return Conversion(is_known, is_known & far, light, tf.linalg.matmul(_FROM_XYZ, to_xyz))


_VALUES = np.linspace(0, 1, 256, dtype="float32")


def _fixed(data: HeaderBytes, places: tf.Tensor) -> tf.Tensor:
    """Signed numbers with sixteen bits after the point, float32."""
    numbers = data.big(places, 4)
    return tf.cast(tf.where(numbers >= 2**31, numbers - 2**32, numbers), tf.float32) / 2**16


def _colours(data: HeaderBytes, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """XYZ of [3] colours, float32 [3, 3]; and whether each could be read, bool [3]."""
    is_read = data.has(places, b"XYZ ") & (places + 20 <= data.size)
    return _fixed(data, places[:, tf.newaxis] + [8, 12, 16]), is_read


def _curves(data: HeaderBytes, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The linear light of 256 values by [3, 1] curves, float32 [3, 256]; whether it is read."""
    is_formula = data.has(places, b"para")
    by_formula, formula_fits = _formulas(data, places)
    by_samples, samples_fit = _sampled(data, places)
    light = tf.where(is_formula, by_formula, by_samples)
    is_sampled = data.has(places, b"curv")
    is_read = (is_formula & formula_fits) | (is_sampled & samples_fit)
    return tf.ensure_shape(tf.clip_by_value(light, 0, 1), [3, 256]), is_read


def _formulas(data: HeaderBytes, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Parametric curves: ICC.1:2022 §10.18, table 68."""
    kinds = data.big(places + 8, 2)
    is_kind = [tf.equal(kinds, kind) for kind in range(5)]
    p = tf.unstack(_fixed(data, places + 12 + 4 * np.arange(7)), axis=1)
    g, a, b, c, d, e, f = (number[:, tf.newaxis] for number in p)
    # Each as (a·x + b)^g + e from d on, and c·x + f below. The shorter ones lack the rest.
    a, b = tf.where(is_kind[0], 1.0, a), tf.where(is_kind[0], 0.0, b)
    is_short = is_kind[1] | is_kind[2]
    e = tf.where(is_kind[2], c, tf.where(is_kind[4], e, 0.0))
    f = tf.where(is_kind[2], c, tf.where(is_kind[4], f, 0.0))
    d = tf.where(is_short, -tf.math.divide_no_nan(b, a), tf.where(is_kind[0], 0.0, d))
    c = tf.where(is_short | is_kind[0], 0.0, c)
    power = tf.pow(tf.maximum(a * _VALUES + b, 0), g) + e
    numbers = tf.gather([1, 3, 4, 5, 7], tf.minimum(kinds, 4))
    fits = (kinds <= 4) & (places + 12 + 4 * tf.cast(numbers, tf.int64) <= data.size)
    return tf.where(d <= _VALUES, power, c * _VALUES + f), fits


def _sampled(data: HeaderBytes, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Curves by a gamma, or by samples, between which they are straight: §10.6."""
    counts = data.big(places + 8, 4)
    gamma = tf.where(counts > 0, tf.cast(data.big(places + 12, 2), tf.float32) / 256, 1.0)
    at = _VALUES * tf.cast(tf.maximum(counts - 1, 0), tf.float32)
    below = tf.cast(tf.floor(at), tf.int64)
    above = tf.minimum(below + 1, tf.maximum(counts - 1, 0))
    low, high = (
        tf.cast(data.big(places + 12 + 2 * index, 2), tf.float32) / 65535
        for index in (below, above)
    )
    straight = low + (high - low) * (at - tf.floor(at))
    light = tf.where(counts <= 1, tf.pow(_VALUES, gamma), straight)
    return light, places + 12 + 2 * counts <= data.size
