"""Looks at one image file: may it be used, and if not, why not."""

import hashlib
import io
from dataclasses import dataclass

import tensorflow as tf
from PIL import Image

from components.image_example_gen.formats import EXTENSIONS
from trainer.data.images import decode
from trainer.errors import ThawError

# Pillow's names of the formats that TensorFlow decodes. Pillow reads the header only.
_DECODABLE = ("JPEG", "PNG", "GIF", "BMP", "MPO")

# Pillow's own limit comes before ours, and is lower than `max_pixels` may be.
Image.MAX_IMAGE_PIXELS = None


class ImageRejected(ThawError):
    """The file is left out. The message is a short reason, the same for similar files."""


@dataclass(frozen=True)
class Inspected:
    """A usable file: hexadecimal SHA-256 of its bytes, and its size in pixels."""

    sha256: str
    height_px: int
    width_px: int


def inspect_image(name: str, content: bytes, max_pixels: int) -> Inspected:
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
    format_name, width, height = _header(content)
    if width * height > max_pixels:
        raise ImageRejected(f"more than {max_pixels:,} pixels")
    try:
        _decode_smallest(tf.constant(content), max_pixels)
    except tf.errors.InvalidArgumentError as error:
        if format_name == "BMP" and _pillow_reads(content):
            raise ImageRejected(
                "a BMP of this kind is not read: convert it to JPEG or PNG"
            ) from error
        raise ImageRejected("the image data is damaged") from error
    return Inspected(hashlib.sha256(content).hexdigest(), height, width)


def has_image_name(name: str) -> bool:
    """Whether the file name ends in one of the extensions that are read."""
    return name.lower().endswith(tuple(EXTENSIONS))


@tf.function  # three times faster than one operation after another
def _decode_smallest(content: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Decodes as later steps do; JPEGs at 1/8, which reads as much of the file as 1/1."""
    image, _ = decode(content, at_least_px=1, max_pixels=max_pixels)
    return image  # or TensorFlow would leave the decoding out


def _pillow_reads(content: bytes) -> bool:
    """Whether the file is sound, as a BMP of 1, 4 or 16 bits can be, which TensorFlow refuses.

    Not asked of other formats: TensorFlow reads every kind of them, and Pillow forgives
    more damage.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except Exception:  # Pillow raises many kinds
        return False
    return True


def _header(content: bytes) -> tuple[str, int, int]:
    """The format's name, the width and the height."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format not in _DECODABLE:
                raise ImageRejected(f"{image.format} is not read: convert it to JPEG or PNG")
            return image.format, *image.size
    except ImageRejected:
        raise
    except Exception as error:  # Pillow's readers of some 40 formats raise whatever they like
        raise ImageRejected("not an image, whatever its name says") from error
