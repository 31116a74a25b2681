"""From bytes to pixels: every format, honest headers, bombs."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainer.images import (
    decode_and_resize,
    decode_batch,
    header_pixels,
    parse_image,
    serialize_image,
)

FORMATS = ("JPEG", "PNG", "GIF", "BMP")


def encoded(format_name: str, width: int, height: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), color="white").save(buffer, format_name)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


@pytest.mark.parametrize("format_name", FORMATS)
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_header_tells_the_pixels_of_every_format(format_name, width, height):
    image = encoded(format_name, width, height)

    assert header_pixels(tf.constant(image)).numpy() == width * height


def test_header_of_a_bitmap_from_top_to_bottom_is_understood():
    image = bytearray(encoded("BMP", 5, 7))
    image[22:26] = struct.pack("<i", -7)

    assert header_pixels(tf.constant(bytes(image))).numpy() == 35


@pytest.mark.parametrize("content", [b"", b"\xff", b"hello", b"RIFF1234WEBP", b"GIF"])
def test_what_is_no_image_has_no_pixels(content):
    assert header_pixels(tf.constant(content)).numpy() == 0


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_decodes_to_the_size_asked_for(format_name):
    image = decode_and_resize(tf.constant(encoded(format_name, 20, 10)), 8, 10_000)

    assert (image.shape, image.dtype) == ((8, 8, 3), tf.uint8)
    assert image.numpy().min() >= 254


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_grey_transparent_and_indexed_images_become_rgb(mode):
    assert decode_and_resize(tf.constant(encoded("PNG", 9, 9, mode)), 4, 100).shape == (4, 4, 3)


def test_bomb_is_refused_by_its_header():
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 1000000 pixels"):
        decode_and_resize(tf.constant(png_claiming(60_000, 60_000)), 8, 1_000_000)


def test_bomb_is_refused_inside_a_graph_too():
    served = tf.function(lambda batch: decode_batch(batch, 8, 1_000_000))

    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 1000000 pixels"):
        served(tf.constant([encoded("PNG", 3, 3), png_claiming(60_000, 60_000)]))


def test_text_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG, PNG, GIF or BMP"):
        decode_and_resize(tf.constant(b"just text"), 8, 1_000_000)


def test_stored_image_is_what_the_model_sees_and_small():
    image = np.random.default_rng(0).integers(0, 256, [299, 299, 3], "uint8")

    stored = serialize_image(tf.constant(image))

    assert len(stored.numpy()) <= 300_000
    np.testing.assert_array_equal(parse_image(stored, 299).numpy(), image)
