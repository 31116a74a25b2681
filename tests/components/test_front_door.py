"""What ServingCheck sends to a server besides the test images."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from components.serving_check import front_door
from trainer.errors import ThawError

from ..trainer.image_corpus import profile

TOLERANCE = 1e-3


def picture(**options: bytes) -> bytes:
    """Noise as a PNG, with what else the options put into it."""
    pixels = np.random.default_rng(0).integers(0, 256, [24, 32, 3]).astype("uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_format_that_is_answered_otherwise_and_text_that_is_answered_are_reported():
    door = AnyDoor(lambda content: content[:4] == b"RIFF")
    with pytest.raises(ThawError, match="a WEBP file otherwise than the same picture as PNG"):
        front_door.check_formats(door, picture(), TOLERANCE)
    with pytest.raises(ThawError, match="answers a truncated file as if it were an image"):
        front_door.check_refusals(door, picture())


class AnyDoor(front_door.FrontDoor):
    """A server that answers whatever comes: what the checks are there to find."""

    def __init__(self, answer: Callable[[bytes], float]) -> None:
        super().__init__(front_door.Addresses("", ""), None)
        object.__setattr__(self, "answer", answer)

    def ask_http(self, files):
        return np.array([[self.answer(one)] for one in files], np.float32)

    ask_grpc = ask_http


def test_all_formats_hold_the_same_pixels_and_nothing_else(monkeypatch):
    sent = []
    door = AnyDoor(lambda content: sent.append(content) or 1.0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter

    front_door.check_formats(
        door, picture(icc_profile=profile("gamma"), exif=exif.tobytes()), TOLERANCE
    )

    pictures = [Image.open(io.BytesIO(content)) for content in sent]
    assert [one.format for one in pictures] == ["PNG", "BMP", "TIFF", "WEBP"]
    for one in pictures:
        assert "icc_profile" not in one.info
        assert one.getexif().get(0x0112, 1) == 1
        np.testing.assert_array_equal(one.convert("RGB"), pictures[0].convert("RGB"))
