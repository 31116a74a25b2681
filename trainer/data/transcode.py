"""Makes files that TensorFlow does not decode as people see them decodable, without loss.

Ingestion and `thaw predict` share this: what the graph can decode stays as it is, byte for
byte; the rest is read by Pillow and written as a plain PNG. The judge of what the graph can
decode is the graph itself (`trainer.data.facts`).
"""

import functools
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL import Image, ImageCms, ImageOps

from trainer.data.decoding import read_facts
from trainer.data.facts import FileFacts
from trainer.data.formats import NAMES
from trainer.data.rare import of_bytes
from trainer.errors import ThawError
from trainer.process.quiet import quiet_stderr
from trainer.specs import ImageReading

NO_IMAGE = "not a JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF or HEIC file"
DAMAGED = "the image data is damaged"
_NO_HEIC = "HEIC is not read: install the package pi-heif, or convert the file to JPEG"
_DEEP = "its pixels have 32 bits each, which have no agreed brightness: convert it to 8 bits"

# Brands of files that Pillow reads with `pi-heif` alone: ISO/IEC 23008-12 annex B.
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# Pillow's own limit comes before ours, and is lower than `max_pixels` may be.
Image.MAX_IMAGE_PIXELS = None

_DEEP_PNG_BITS = 16


class UnreadableImage(ThawError):
    """A file is not read. The message is a short reason, the same for similar files."""


@dataclass(frozen=True)
class DecodableImage:
    """A file as TensorFlow decodes it.

    Attributes:
      content: the file's own bytes, or those of a PNG.
      is_transcoded: whether it is that PNG.
      height_px: of the picture as people see it, turned upright.
      width_px: likewise.
    """

    content: bytes
    is_transcoded: bool
    height_px: int
    width_px: int


def make_decodable(
    content: bytes, max_pixels: int, reading: ImageReading, webp: bool = True
) -> DecodableImage:
    """Returns a file as it is if the graph decodes it right; or as PNG.

    Damage to the pixels of a file that stays as it is only shows when it is decoded.

    Args:
      content: the file.
      max_pixels: files whose header claims more are refused, undecoded.
      reading: how files are read.
      webp: whether the graph that is to decode the file reads WebP.

    Raises:
      UnreadableImage: with the reason.
    """
    try:
        with quiet_stderr():
            facts = _facts(reading, webp)(tf.constant(content))
            facts = FileFacts(*(fact.numpy() for fact in facts))
    except tf.errors.OpError as error:
        raise UnreadableImage(DAMAGED) from error
    height, width = (int(side) for side in facts.size)
    if facts.problem:
        return _transcode(content, max_pixels, reading)
    if height * width > max_pixels:
        raise _too_large(max_pixels)
    if facts.orientation >= 5:
        height, width = width, height
    return DecodableImage(content, False, height, width)


@functools.cache
def _facts(reading: ImageReading, webp: bool) -> Callable[[tf.Tensor], FileFacts]:
    """Reads a header as a graph; one operation after another would take a hundred times as long.

    The graph itself, not the function that looks for the one that fits: that takes as long again.
    """
    return of_bytes(lambda content: read_facts(content, reading, webp)).get_concrete_function()


def _too_large(max_pixels: int) -> UnreadableImage:
    return UnreadableImage(f"more than {max_pixels:,} pixels")


def open_header(content: bytes) -> Image.Image:
    """Opens a file with Pillow, reading no pixel.

    Raises:
      UnreadableImage: if it is no image, or in a format that is not read.
    """
    _register_heic()
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(content))
    except Exception as error:  # Pillow's readers of some 40 formats raise whatever they like
        if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
            raise UnreadableImage(_NO_HEIC) from error
        raise UnreadableImage(NO_IMAGE) from error
    if image.format not in NAMES:
        raise UnreadableImage(f"{image.format} is not read: convert it to JPEG or PNG")
    return image


@functools.cache
def _register_heic() -> None:
    """Has Pillow read HEIC, where its reader is installed."""
    try:
        import pi_heif
    except ImportError:
        return
    pi_heif.register_heif_opener()


def _transcode(content: bytes, max_pixels: int, reading: ImageReading) -> DecodableImage:
    image = open_header(content)
    if image.width * image.height > max_pixels:
        raise _too_large(max_pixels)
    try:
        with warnings.catch_warnings(action="ignore"):
            seen = as_seen(image, reading)
    except UnreadableImage:
        raise
    except Exception as error:  # of any kind; see above
        raise UnreadableImage(DAMAGED) from error
    buffer = io.BytesIO()
    seen.save(buffer, "PNG", compress_level=1)
    return DecodableImage(buffer.getvalue(), True, seen.height, seen.width)


def as_seen(image: Image.Image, reading: ImageReading) -> Image.Image:
    """Decodes the first frame as people see it: upright, in sRGB.

    Returns:
      An image of mode RGB; or RGBA, if it has transparency.

    Raises:
      UnreadableImage: if there is no agreed way to show it.
      Exception: whatever Pillow raises on damaged files.
    """
    image.load()
    profile = image.info.get("icc_profile") if reading.colour_profiles == "convert" else None
    has_alpha = image.has_transparency_data
    turned = _upright(image)
    alpha = None
    if has_alpha:
        if image.format == "PNG" and _is_deep(image):
            raise UnreadableImage(DAMAGED)  # Pillow compares 16 bits with 8
        turned = turned.convert("RGBA")
        alpha = turned.getchannel("A")
    colours = _to_srgb(_in_8_bits(turned), profile)
    if alpha is not None:
        colours.putalpha(alpha)
    colours.info.clear()
    return colours


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or isinstance(image.info.get("transparency"), tuple)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # of EXIF that cannot be read, as every viewer does, nothing is made
        return image


def _in_8_bits(image: Image.Image) -> Image.Image:
    """An image of mode L, RGB or CMYK; of 16 bits the upper 8."""
    if image.mode in ("I", "F"):
        raise UnreadableImage(_DEEP)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
    if image.mode in ("1", "LA"):
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Mode RGB; a profile that is damaged, or for other colours, is ignored."""
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, own, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            return image.convert("RGB")
        if converted is not None:
            return converted
    return image.convert("RGB")
