"""One file at a time: what is taken, what is rejected, and for which reason."""

import hashlib
import io
import struct

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.image_example_gen.inspect import (
    ImageRejected,
    Inspected,
    inspect_image,
    reencode,
)
from trainer.data.images import decode_and_resize
from trainer.specs import ImageReading

from .conftest import encoded, png_claiming

MAX_PIXELS = 10_000
FORMATS = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "BMP": "bmp"}


def reason(name: str, content: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(ImageRejected) as caught:
        inspect_image(name, content, max_pixels)
    return str(caught.value)


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_is_taken_with_its_size_and_hash(format_name):
    content = encoded(format_name, width=9, height=7)

    found = inspect_image(f"photo.{FORMATS[format_name]}", content, MAX_PIXELS)

    assert (found.width_px, found.height_px) == (9, 7)
    assert found.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["a.jpg", "A.JPG", "b.jpeg", "c.Png", "d.GIF", "e.bmp"])
def test_name_may_end_in_any_case(name):
    assert inspect_image(name, encoded("JPEG"), MAX_PIXELS).width_px == 9


@pytest.mark.parametrize("name", ["notes.txt", "photo.jpg.bak", "photo", "jpg", "photo.psd"])
def test_other_names_are_rejected_whatever_the_file_holds(name):
    assert reason(name, encoded("JPEG")) == "the name does not end like an image's"


def test_format_counts_not_the_name():
    assert inspect_image("really_a_png.jpg", encoded("PNG"), MAX_PIXELS).height_px == 7


def test_empty_file_is_rejected():
    assert reason("photo.jpg", b"") == "the file is empty"


@pytest.mark.parametrize("content", [b"just text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"])
def test_what_is_no_image_is_rejected(content):
    assert reason("photo.jpg", content) == "not an image, whatever its name says"


@pytest.mark.parametrize("format_name", ["PPM", "PCX", "TGA"])
def test_format_that_is_not_read_is_named(format_name):
    content = encoded(format_name)

    assert reason("photo.jpg", content) == f"{format_name} is not read: convert it to JPEG or PNG"


@pytest.mark.parametrize("format_name", ["WEBP", "TIFF", "AVIF"])
def test_newer_formats_are_taken_under_their_own_hash(format_name):
    content = encoded(format_name, width=9, height=7)

    found = inspect_image(f"photo.{format_name.lower()}", content, MAX_PIXELS)

    sha256 = hashlib.sha256(content).hexdigest()
    assert found == Inspected(sha256, 7, 9, format_name, is_transcoded=format_name != "WEBP")


def test_heic_without_its_reader_names_the_package():
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)

    assert reason("photo.heic", content) == (
        "HEIC is not read: install the package pi-heif, or convert the file to JPEG"
    )


def test_bitmap_of_a_depth_that_tensorflow_cannot_read_is_re_encoded():
    """Two colours in a bit for each pixel: Pillow reads it."""
    buffer = io.BytesIO()
    Image.new("1", (9, 7)).save(buffer, "BMP")
    content = buffer.getvalue()

    assert inspect_image("a.bmp", content, MAX_PIXELS).is_transcoded
    assert reason("a.bmp", content[:-8]) == "the image data is damaged"


def test_bitmap_with_the_header_of_os2_is_re_encoded():
    """Its sides are of 16 bits each, which TensorFlow takes for one of 32."""
    pixels = bytes(7 * 28)
    header = struct.pack("<IHHHH", 12, 9, 7, 1, 24)
    content = b"BM" + struct.pack("<IHHI", 26 + len(pixels), 0, 0, 26) + header + pixels

    found = inspect_image("a.bmp", content, MAX_PIXELS)
    assert found.is_transcoded
    assert (found.width_px, found.height_px) == (9, 7)


def test_limit_counts_pixels_and_includes_itself():
    content = encoded("PNG", width=10, height=20)

    assert inspect_image("a.png", content, 200).width_px == 10
    assert reason("a.png", content, 199) == "more than 199 pixels"


def test_bomb_is_rejected_by_its_header_and_never_decoded(monkeypatch):
    bomb = png_claiming(60_000, 60_000)
    monkeypatch.setattr(tf.io, "decode_image", lambda *_, **__: pytest.fail("was decoded"))

    assert len(bomb) < 100
    assert reason("bomb.png", bomb, 100_000_000) == "more than 100,000,000 pixels"


def test_animation_is_taken_with_the_size_of_its_first_frame():
    """TensorFlow alone would decode the second one too."""
    content = encoded("GIF")
    second = b"," + struct.pack("<HHHHB", 0, 0, 9000, 9000, 0) + b"\x08\x00"

    found = inspect_image("a.gif", content[:-1] + second + b";", MAX_PIXELS)

    assert (found.width_px, found.height_px) == (9, 7)


def test_frame_larger_than_the_screen_is_rejected():
    content = bytearray(encoded("GIF", width=300, height=200))
    content[6:10] = struct.pack("<HH", 1, 1)

    assert reason("a.gif", bytes(content)) == "more than 10,000 pixels"


def test_image_larger_than_pillows_own_limit_is_ours_to_judge():
    """Pillow refuses from 178 million pixels on; `max_pixels` may be higher."""
    assert reason("a.png", png_claiming(20_000, 10_000), 10**9) == "the image data is damaged"


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "BMP"])
def test_file_that_ends_too_early_is_rejected(format_name):
    content = encoded(format_name, width=60, height=60)

    assert reason("cut.jpg", content[: len(content) // 2]) == "the image data is damaged"


def test_jpeg_of_two_pictures_is_taken_as_its_first():
    buffer = io.BytesIO()
    second = Image.new("RGB", (4, 4))
    Image.new("RGB", (9, 7)).save(buffer, "MPO", save_all=True, append_images=[second])

    assert inspect_image("a.jpg", buffer.getvalue(), MAX_PIXELS).width_px == 9


@settings(deadline=None)
@given(
    format_name=st.sampled_from(list(FORMATS)),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    length=st.integers(1, 800),
)
def test_damaged_file_is_rejected_or_decodes_as_transform_decodes_it(format_name, edits, length):
    content = bytearray(encoded(format_name))
    for offset, value in edits:
        content[offset % len(content)] = value
    content = bytes(content[:length])

    try:
        found = inspect_image("a.jpg", content, MAX_PIXELS)
    except ImageRejected:
        return

    if found.is_transcoded:
        content = reencode(content, MAX_PIXELS, ImageReading())
    assert decode_and_resize(tf.constant(content), 8, MAX_PIXELS).shape == (8, 8, 3)
