"""Photographs of any size and kind of JPEG, from the two that scikit-learn brings."""

import functools
import io
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("RGB", {}),
    "full colour": ("RGB", {"subsampling": 0}),
    "half colour": ("RGB", {"subsampling": 1}),
    "progressive": ("RGB", {"progressive": True}),
    "restarting": ("RGB", {"restart_marker_blocks": 3}),
    "turned": (
        "RGB",
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0" * 4},
    ),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "progressive CMYK": ("CMYK", {"progressive": True}),
}


@functools.cache
def photograph(number: int, width: int, height: int, enlarged: bool) -> Image.Image:
    """One of two photographs: enlarged, so soft; or beside its mirror images, so sharp."""
    pixels = load_sample_images().images[number]
    if enlarged:
        return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    more = [(0, max(0, height - len(pixels))), (0, max(0, width - len(pixels[0]))), (0, 0)]
    return Image.fromarray(np.pad(pixels, more, mode="symmetric")[:height, :width])


def encode(image: Image.Image, kind: str = "plain") -> bytes:
    """A JPEG file of one of `KINDS`, or one in an MPO file with another behind it."""
    buffer = io.BytesIO()
    if kind == "MPO":
        image.save(buffer, "MPO", quality=90, save_all=True, append_images=[image])
    else:
        mode, options = KINDS[kind]
        image.convert(mode).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()
