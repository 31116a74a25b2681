"""Decodes a file as people see it, inside a graph: one reader and one decoder a format."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from trainer.data import gif
from trainer.data.bmp import read_bmp
from trainer.data.colour_profile import Conversion, read_profile, unchanged
from trainer.data.facts import IRREGULAR, NO_IMAGE, PROBLEMS, PROFILE, FileFacts, no_image
from trainer.data.header_bytes import starts_with
from trainer.data.jpeg import read_jpeg
from trainer.data.png import read_png
from trainer.data.rare import Function, call, call_if, call_one, function_of, of_bytes
from trainer.data.webp import is_webp, read_webp
from trainer.specs import AS_IN_THE_RECIPE, ImageReading

# No image is as short as the shortest header that is read without looking at the length.
_HEADER_BYTES = 26

# The order of the functions by format.
_NONE, _JPEG, _PNG, _GIF, _BMP, _WEBP = range(6)
_READERS = (lambda _: no_image(), read_jpeg, read_png, gif.read_gif, read_bmp, read_webp)

# What the JPEG decoder can divide both sides by, at almost no cost.
_JPEG_RATIOS = (2, 4, 8)

# Pixels that are laid on the background at once: it takes 64 bytes for each.
_BLEND_PIXELS = 2**20

NO_IMAGE_WITHOUT_WEBP = "not a JPEG, PNG, GIF or BMP file"
_ADVICE = "convert it to a plain PNG or JPEG, or use `thaw predict`, which does"


class Picture(NamedTuple):
    """A decoded file, not yet turned and in the colours of its own profile.

    Attributes:
      pixels: uint8 [height, width, 3].
      extent: float32 [2], of the content in those pixels: 5 rows at 1/2 are 3, the last
        one half filled, of extent 2.5.
      orientation: int64 scalar, 1 to 8 as in EXIF.
      conversion: to sRGB.
    """

    pixels: tf.Tensor
    extent: tf.Tensor
    orientation: tf.Tensor
    conversion: Conversion


def read_facts(image_bytes: tf.Tensor, reading: ImageReading, webp: bool = True) -> FileFacts:
    """Reads what a file's header says, without decoding any pixel.

    A 24 kB PNG can decode to half a gigabyte; this asks before anything is decoded.

    Args:
      image_bytes: string scalar, of any content.
      reading: how files are read.
      webp: whether WebP is among the formats; if not, such a file is no image.

    Raises:
      tf.errors.DataLossError: on a PNG whose compressed profile is damaged.
    """
    with tf.device("CPU:0"):
        return call_one(
            _kind(image_bytes, webp), _fact_readers(reading.colour_profiles, webp), image_bytes
        )


@functools.cache
def _fact_readers(colour_profiles: str, webp: bool) -> list[Function]:
    def reader(read: Callable[[tf.Tensor], FileFacts]) -> Function:
        return of_bytes(lambda image_bytes: _judged(read(image_bytes), colour_profiles)[0])

    return [reader(read) for read in (_READERS if webp else _READERS[:_WEBP])]


def _kind(image_bytes: tf.Tensor, webp: bool) -> tf.Tensor:
    signatures = [(b"\xff\xd8\xff", _JPEG), (b"\x89PNG\r\n\x1a\n", _PNG), (b"GIF8", _GIF)]
    kind = tf.constant(_NONE)
    for magic, number in [*signatures, (b"BM", _BMP)]:
        kind = tf.where(starts_with(image_bytes, magic), number, kind)
    if webp:
        kind = tf.where(is_webp(image_bytes), _WEBP, kind)
    return tf.where(tf.strings.length(image_bytes) < _HEADER_BYTES, _NONE, kind)


def _judged(facts: FileFacts, colour_profiles: str) -> tuple[FileFacts, Conversion]:
    """Adds what does not depend on the format: an empty picture, a profile."""
    problem = _either(facts.problem, IRREGULAR, tf.reduce_prod(facts.size) <= 0)
    if colour_profiles == "ignore":
        problem = tf.where(tf.equal(problem, PROFILE), tf.zeros([], tf.int64), problem)
        return facts._replace(problem=problem), unchanged()
    conversion = call_if(
        tf.strings.length(facts.profile) > 0,
        read_profile,
        facts.profile,
        facts.is_grey,
        otherwise=unchanged,
    )
    # The background's colour is sRGB: it must not be converted.
    is_mixed = facts.has_alpha & conversion.changes
    problem = _either(problem, PROFILE, ~conversion.is_known | is_mixed)
    return facts._replace(problem=problem), conversion


def _either(problem: tf.Tensor, other: int, condition: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.equal(problem, 0) & condition, tf.constant(other, tf.int64), problem)


def decode(
    image_bytes: tf.Tensor,
    at_least_px: int,
    max_pixels: int,
    reading: ImageReading = AS_IN_THE_RECIPE,
    webp: bool = True,
) -> Picture:
    """Decodes one file; a JPEG much larger than needed at 1/2, 1/4 or 1/8 of its size.

    The JPEG decoder does so by computing fewer pixels of each 8×8 block. It still reads
    the whole file: at every scale it refuses the same damaged ones.

    Args:
      image_bytes: string scalar: a JPEG, PNG, GIF (its first frame), BMP or WebP file.
      at_least_px: a JPEG's scale is the smallest that leaves both sides this long.
      max_pixels: refuse files whose header claims more.
      reading: how files are read.
      webp: whether WebP is read; without, the graph loads in servers that lack the decoder.

    Raises:
      tf.errors.InvalidArgumentError: on a file that is no image, is too large, or would not
        look as people see it.
      tf.errors.DataLossError: on a PNG whose compressed profile is damaged.
    """
    with tf.device("CPU:0"):
        return call_one(
            _kind(image_bytes, webp),
            _decoders(reading.colour_profiles, webp),
            image_bytes,
            tf.constant(at_least_px, tf.int64),
            tf.constant(max_pixels, tf.int64),
            tf.constant(reading.background, tf.int32),
        )


class _Limits(NamedTuple):
    """What decoders take besides the file: int64 scalars, and a colour, int32 [3]."""

    at_least_px: tf.Tensor
    max_pixels: tf.Tensor
    background: tf.Tensor


@functools.cache
def _decoders(colour_profiles: str, webp: bool) -> list[Function]:
    """The functions from bytes to `Picture`, by format.

    They are traced once, whatever the limits are.
    """

    def decoder(read: Callable[[tf.Tensor], FileFacts], decode_pixels: _DecodePixels) -> Function:
        @function_of(((), tf.string), ((), tf.int64), ((), tf.int64), ((3,), tf.int32))
        def run(image_bytes: tf.Tensor, *given: tf.Tensor) -> Picture:
            limits = _Limits(*given)
            facts, conversion = _judged(read(image_bytes), colour_profiles)
            with tf.control_dependencies([_check(facts, limits.max_pixels, webp)]):
                checked = tf.identity(image_bytes)
            pixels, extent = decode_pixels(checked, facts, limits)
            pixels = tf.ensure_shape(pixels, [None, None, 3])
            return Picture(pixels, extent, facts.orientation, conversion)

        return run

    decoders: list[_DecodePixels] = [
        _decode_nothing,
        _decode_jpeg,
        _decode_png,
        _decode_gif,
        _decode_bmp,
        _decode_webp,
    ]
    count = len(_READERS) if webp else _WEBP
    return [decoder(*pair) for pair in zip(_READERS[:count], decoders[:count], strict=True)]


_DecodePixels = Callable[[tf.Tensor, FileFacts, _Limits], tuple[tf.Tensor, tf.Tensor]]


def _check(facts: FileFacts, max_pixels: tf.Tensor, webp: bool) -> tf.Operation:
    """Refuses, in one operation, what is too large or would not look as people see it."""
    others = [f"{sentence}: {_ADVICE}" for sentence in PROBLEMS[NO_IMAGE + 1 :]]
    no_image = PROBLEMS[NO_IMAGE] if webp else NO_IMAGE_WITHOUT_WEBP
    too_large = tf.strings.join(["more than ", tf.strings.as_string(max_pixels), " pixels"])
    sentences = tf.stack(["", no_image, *others, too_large])
    is_large = tf.reduce_prod(facts.size) > max_pixels
    problem = tf.where(is_large, len(PROBLEMS), tf.cast(facts.problem, tf.int32))
    return tf.raw_ops.Assert(condition=tf.equal(problem, 0), data=[tf.gather(sentences, problem)])


def _decode_nothing(*_: object) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.zeros([0, 0, 3], tf.uint8), tf.zeros([2])


def _decode_jpeg(
    image_bytes: tf.Tensor, facts: FileFacts, limits: _Limits
) -> tuple[tf.Tensor, tf.Tensor]:
    def scaled_down(ratio: int) -> tuple[tf.Tensor, tf.Tensor]:
        # Not by the default, which is a little faster and up to 17 of 255 levels off what every
        # other decoder makes of a file.
        image = tf.io.decode_jpeg(
            image_bytes, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"
        )
        return image, tf.cast(facts.size, tf.float32) / ratio

    fits = tf.reduce_min(facts.size) >= tf.constant(_JPEG_RATIOS, tf.int64) * limits.at_least_px
    return tf.switch_case(
        tf.math.count_nonzero(fits, dtype=tf.int32),
        [functools.partial(scaled_down, ratio) for ratio in (1, *_JPEG_RATIOS)],
    )


def _decode_png(
    image_bytes: tf.Tensor, facts: FileFacts, limits: _Limits
) -> tuple[tf.Tensor, tf.Tensor]:
    return _whole(
        tf.cond(
            facts.has_alpha,
            lambda: blend(tf.io.decode_png(image_bytes, channels=4), limits.background),
            lambda: tf.io.decode_png(image_bytes, channels=3),
        )
    )


def _decode_gif(image_bytes: tf.Tensor, *_: object) -> tuple[tf.Tensor, tf.Tensor]:
    one_frame = gif.cut_after_first_frame(image_bytes)
    return _whole(tf.io.decode_image(one_frame, channels=3, expand_animations=False))


def _decode_bmp(image_bytes: tf.Tensor, *_: object) -> tuple[tf.Tensor, tf.Tensor]:
    return _whole(tf.io.decode_bmp(image_bytes, channels=3))


def _decode_webp(
    image_bytes: tf.Tensor, facts: FileFacts, limits: _Limits
) -> tuple[tf.Tensor, tf.Tensor]:
    return _whole(
        tf.cond(
            facts.has_alpha,
            lambda: blend(tf.io.decode_webp(image_bytes, channels=4)[0], limits.background),
            lambda: tf.io.decode_webp(image_bytes, channels=3)[0],
        )
    )


def _whole(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return image, tf.cast(tf.shape(image)[:2], tf.float32)


def blend(image: tf.Tensor, background: tf.Tensor) -> tf.Tensor:
    """Lays uint8 [height, width, 4] on a colour, int32 [3]: uint8 [height, width, 3]."""
    return call(_blend, image, background)


@function_of(((None, None, 4), tf.uint8), ((3,), tf.int32))
def _blend(image: tf.Tensor, background: tf.Tensor) -> tf.Tensor:
    """Some rows at a time, so that it takes little more memory than the two images."""
    rows = tf.maximum(1, _BLEND_PIXELS // tf.maximum(1, tf.shape(image)[1]))
    count = (tf.shape(image)[0] + rows - 1) // rows
    blocks = tf.TensorArray(tf.uint8, count, infer_shape=False, element_shape=[None, None, 3])

    def step(index: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        block = tf.cast(image[index * rows : (index + 1) * rows], tf.int32)
        colour, alpha = block[..., :3], block[..., 3:]
        mixed = (colour * alpha + background * (255 - alpha) + 127) // 255
        return index + 1, done.write(index, tf.cast(mixed, tf.uint8))

    _, blocks = tf.while_loop(
        lambda index, _: index < count, step, [0, blocks], parallel_iterations=1
    )
    return blocks.concat()
