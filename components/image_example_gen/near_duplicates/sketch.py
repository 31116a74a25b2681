"""What two pictures are compared by: some hundred bytes an image. Light to import."""

from dataclasses import dataclass

import numpy as np

SIDE_PX = 24

# How much of a side a copy may lack and still be found, wherever it was cut off.
CROP = 0.05

# What `imagehash.phash` looks at.
_HASHED_PX = 32

# Thumbnails of less contrast show no picture that could be distinguished from another.
_FLAT_LEVELS = 2.0


@dataclass(frozen=True)
class Sketch:
    """A picture in grey, and the perceptual hashes of it and of its possible crops.

    Attributes:
      thumbnail: uint8 [24, 24] of luminance, row by row; the picture is stretched to the square.
      hashes: uint64 [10], big-endian: of the whole, then of nine crops that lack 5 % of both sides.
      mirrored: uint64, big-endian: the hash of the mirrored picture.
    """

    thumbnail: bytes
    hashes: bytes
    mirrored: bytes


def crops() -> list[tuple[float, float, float]]:
    """The parts that are hashed: left, top and side of each, in pixels of the thumbnail."""
    side = SIDE_PX * (1 - CROP)
    offsets = [SIDE_PX * CROP * place for place in (0, 0.5, 1)]
    return [(0, 0, SIDE_PX), *((left, top, side) for left in offsets for top in offsets)]


def sketch_of(pixels: bytes) -> Sketch | None:
    """Draws the sketch of uint8 [24, 24, 3] in sRGB, row by row; None if it is nearly flat.

    The hash is that of Krawetz (2011), "Looks Like It", as `imagehash.phash` computes it: which
    of the 64 lowest frequencies of the cosine transform are above their median.
    """
    import imagehash
    from PIL import Image, ImageOps

    def hash_of(image: Image.Image, part: tuple[float, float, float]) -> bytes:
        left, top, side = part
        box = (left, top, left + side, top + side)
        size = (_HASHED_PX, _HASHED_PX)
        cut = image.resize(size, Image.Resampling.BILINEAR, box=box)
        return np.packbits(imagehash.phash(cut).hash).tobytes()

    grey = Image.frombytes("RGB", (SIDE_PX, SIDE_PX), pixels).convert("L")
    thumbnail = np.asarray(grey)
    if thumbnail.std() < _FLAT_LEVELS:
        return None
    return Sketch(
        thumbnail=thumbnail.tobytes(),
        hashes=b"".join(hash_of(grey, part) for part in crops()),
        mirrored=hash_of(ImageOps.mirror(grey), crops()[0]),
    )
