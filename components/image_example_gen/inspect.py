"""Looks at one image file: may it be used, and if not, why not."""

import hashlib
from dataclasses import dataclass, field

import tensorflow as tf

from components.image_example_gen.near_duplicates.sketch import SIDE_PX
from trainer.data.formats import has_image_name
from trainer.data.images import decode_and_resize
from trainer.data.transcode import (
    DAMAGED,
    NO_IMAGE,
    UnreadableImage,
    make_decodable,
    open_header,
)
from trainer.errors import ThawError
from trainer.specs import AS_IN_THE_RECIPE, ImageReading

# Pillow's name of a JPEG with more pictures behind it, as phones write them.
_MPO = "MPO"


class ImageRejected(ThawError):
    """The file is left out. The message is a short reason, the same for similar files."""


@dataclass(frozen=True)
class Inspected:
    """A usable file.

    Attributes:
      sha256: of its bytes, hexadecimal.
      height_px: as people see it, like the width.
      width_px: likewise.
      format_name: as in `trainer.data.formats`.
      is_transcoded: whether it has to be re-encoded.
      thumbnail: uint8 [24, 24, 3], row by row: the picture stretched to a small square.
    """

    sha256: str
    height_px: int
    width_px: int
    format_name: str
    is_transcoded: bool = False
    thumbnail: bytes = field(default=b"", compare=False, repr=False)


def inspect_image(
    name: str,
    content: bytes,
    max_pixels: int,
    reading: ImageReading = AS_IN_THE_RECIPE,
) -> Inspected:
    """Checks a file from its name to its last pixel, the cheap checks first.

    The header is read before anything is decoded: a file of some kilobytes can claim
    gigabytes of pixels. Transform and the served model read it with TensorFlow, which
    need not agree with Pillow: what passes here must pass there.

    Raises:
      ImageRejected: with the reason.
    """
    if not has_image_name(name):
        raise ImageRejected("the name does not end like an image's")
    if not content:
        raise ImageRejected("the file is empty")
    try:
        with open_header(content) as header:
            format_name, width, height = str(header.format), *header.size
        if width * height > max_pixels:
            raise ImageRejected(f"more than {max_pixels:,} pixels")
        image = make_decodable(content, max_pixels, reading)
        thumbnail = _decode_small(tf.constant(image.content), max_pixels, reading)
    except UnreadableImage as error:
        raise ImageRejected(_reason(error)) from error
    except tf.errors.OpError as error:
        raise ImageRejected(DAMAGED) from error
    return Inspected(
        sha256=hashlib.sha256(content).hexdigest(),
        height_px=image.height_px,
        width_px=image.width_px,
        format_name="JPEG" if format_name == _MPO else format_name,
        is_transcoded=image.is_transcoded,
        thumbnail=thumbnail.numpy().tobytes(),
    )


def reencode(content: bytes, max_pixels: int, reading: ImageReading) -> bytes:
    """Re-encodes a file that passed the check once more, to the same bytes."""
    return make_decodable(content, max_pixels, reading).content


def _reason(error: UnreadableImage) -> str:
    reason = str(error)
    return "not an image, whatever its name says" if reason == NO_IMAGE else reason


@tf.function  # three times faster than one operation after another
def _decode_small(content: tf.Tensor, max_pixels: int, reading: ImageReading) -> tf.Tensor:
    """Decodes as later steps do; JPEGs at 1/8, which reads as much of the file as 1/1."""
    return decode_and_resize(content, SIDE_PX, max_pixels, reading)
