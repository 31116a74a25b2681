"""From bytes to pixels: every format, honest headers, bombs."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.trainer.photographs import KINDS, encode, photograph
from trainer.data.decoding import decode, read_facts
from trainer.data.images import (
    decode_and_resize,
    decode_batch,
    parse_image,
    serialize_image,
)
from trainer.specs import ImageReading

FORMATS = ("JPEG", "PNG", "GIF", "BMP")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM")
NO_IMAGE = "not a JPEG, PNG, GIF, BMP or WebP file"
UNUSUAL = "the header of the file is damaged or unusual"

# How a file is refused: by the checks before decoding, or by TensorFlow's decoders.
REFUSAL = re.compile(
    rf"{NO_IMAGE}|{UNUSUAL}|more than \d+ pixels|Invalid (JPEG|PNG|GIF)"
    "|this kind of JPEG, GIF or BMP file|the first frame of the GIF"
)


def encoded(format_name: str, width: int, height: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), color="white").save(buffer, format_name)
    return buffer.getvalue()


def header_size(content: bytes) -> list[int]:
    return sizes(tf.constant(content)).numpy().tolist()


sizes = tf.function(
    lambda content: read_facts(content, ImageReading()).size,
    input_signature=[tf.TensorSpec([], tf.string)],
)


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


@pytest.mark.parametrize("format_name", FORMATS)
@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_header_tells_the_size_in_every_format(format_name, width, height):
    image = encoded(format_name, width, height)

    assert header_size(image) == [height, width]


def test_header_of_a_bitmap_from_top_to_bottom_is_understood():
    image = bytearray(encoded("BMP", 5, 7))
    image[22:26] = struct.pack("<i", -7)

    assert header_size(bytes(image)) == [7, 5]


@pytest.mark.parametrize("content", [b"", b"\xff", b"hello", b"RIFF1234WEBP", b"GIF", *SIGNATURES])
def test_what_is_no_image_has_no_size(content):
    assert header_size(content) == [0, 0]


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


def test_bomb_behind_a_chunk_that_claims_one_pixel_is_refused():
    """The PNG decoder passes a chunk that it does not know, even before the header."""
    bomb = png_claiming(60_000, 60_000)
    ahead = b"zzZz" + struct.pack(">II", 1, 1)
    chunk = struct.pack(">I", 8) + ahead + struct.pack(">I", zlib.crc32(ahead))

    with pytest.raises(tf.errors.InvalidArgumentError, match=UNUSUAL):
        decode_and_resize(tf.constant(bomb[:8] + chunk + bomb[8:]), 8, 1_000_000)


def test_text_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match=NO_IMAGE):
        decode_and_resize(tf.constant(b"just text"), 8, 1_000_000)


# Traced once, as a served model is; step by step it is slower.
served_alone = tf.function(
    lambda content: decode_and_resize(content, 8, 10_000),
    input_signature=[tf.TensorSpec([], tf.string)],
)


def check_decoded_or_refused(content: bytes) -> None:
    try:
        image = served_alone(tf.constant(content))
    except tf.errors.InvalidArgumentError as error:
        refusal = error.message
    else:
        assert image.shape == (8, 8, 3)
        return
    assert REFUSAL.search(refusal)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_file_shorter_than_any_header_is_refused_inside_a_graph(signature):
    for length in range(26):
        content = (signature + b"\xff\x00\x80" * 9)[:length]

        with pytest.raises(tf.errors.InvalidArgumentError, match=NO_IMAGE):
            served_alone(tf.constant(content))


@pytest.mark.parametrize("format_name", FORMATS)
@settings(max_examples=60)
@given(data=st.data(), mode=st.sampled_from(["L", "RGB", "1"]), side=st.integers(1, 40))
def test_file_cut_off_anywhere_is_decoded_or_refused(format_name, data, mode, side):
    content = encoded(format_name, side, 20, mode)
    header = st.integers(0, min(60, len(content)))

    length = data.draw(header | st.integers(0, len(content)))

    check_decoded_or_refused(content[:length])


@settings(max_examples=200)
@given(signature=st.sampled_from(SIGNATURES), rest=st.binary(max_size=80))
def test_random_bytes_behind_a_signature_are_decoded_or_refused(signature, rest):
    check_decoded_or_refused(signature + rest)


def test_stored_image_is_what_the_model_sees_and_small():
    image = np.random.default_rng(0).integers(0, 256, [299, 299, 3], "uint8")

    stored = serialize_image(tf.constant(image))

    assert len(stored.numpy()) <= 300_000
    np.testing.assert_array_equal(parse_image(stored, 299).numpy(), image)


def whole(content: bytes, size_px: int) -> np.ndarray:
    """Decoding in full, then `tf.image.resize`: what small files have always given."""
    if content.startswith(b"\xff\xd8"):
        image = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
    else:
        image = tf.io.decode_image(content, channels=3, expand_animations=False)
    image = tf.image.resize(image, [size_px, size_px], antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8).numpy()


def difference(content: bytes, size_px: int) -> np.ndarray:
    """By how many of 255 levels each value differs from that."""
    image = decode_and_resize(tf.constant(content), size_px, 10**8).numpy()
    return np.abs(image.astype(int) - whole(content, size_px))


@pytest.mark.parametrize(
    ("width", "height", "ratio"),
    [(127, 999, 1), (999, 127, 1), (128, 128, 2), (255, 999, 2), (256, 257, 4), (511, 511, 4)]
    + [(512, 512, 8), (2000, 1999, 8)],
)
def test_jpeg_is_decoded_at_the_smallest_scale_that_leaves_both_sides_long_enough(
    width, height, ratio
):
    image, extent, *_ = decode(tf.constant(encoded("JPEG", width, height)), 64, 10**7)

    assert image.shape == (-(-height // ratio), -(-width // ratio), 3)
    assert extent.numpy().tolist() == [height / ratio, width / ratio]
    assert ratio == 1 or min(image.shape[:2]) >= 64


@pytest.mark.parametrize("format_name", ["PNG", "GIF", "BMP"])
def test_other_formats_are_decoded_whole_whatever_their_size(format_name):
    image, extent, *_ = decode(tf.constant(encoded(format_name, 300, 200)), 8, 10**6)

    assert image.shape == (200, 300, 3)
    assert extent.numpy().tolist() == [200, 300]


@pytest.mark.parametrize("format_name", FORMATS)
@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 127), height=st.integers(1, 400), seed=st.integers(0, 9))
def test_images_less_than_four_times_the_size_give_the_bytes_of_full_decoding(
    format_name, width, height, seed
):
    pixels = np.random.default_rng(seed).integers(0, 256, [height, width, 3], "uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name)

    image = decode_and_resize(tf.constant(buffer.getvalue()), 32, 10**6)

    np.testing.assert_array_equal(image.numpy(), whole(buffer.getvalue(), 32))


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("enlarged", [True, False])
def test_12_megapixel_photographs_look_as_if_decoded_in_full(number, enlarged):
    differences = difference(encode(photograph(number, 4000, 3000, enlarged)), 299)

    assert 0 < differences.mean() < 1
    assert differences.max() <= 6


@pytest.mark.parametrize(("width", "height"), [(1197, 1199), (2393, 2399), (4785, 4791)])
def test_sizes_that_the_scale_does_not_divide_do_not_shift_the_picture(width, height):
    differences = difference(encode(photograph(0, width, height, enlarged=False)), 299)

    # Taken for 599 whole pixels, the 598.1 of 4785 at 1/8 differ by 4 on average.
    assert differences.mean() < 1.5
    assert differences.max() <= 25


@pytest.mark.parametrize("kind", [*KINDS, "MPO"])
def test_every_kind_of_jpeg_is_scaled_down(kind):
    content = encode(photograph(1, 641, 427, enlarged=True), kind)

    image = decode(tf.constant(content), 64, 10**6).pixels
    seen = decode_and_resize(tf.constant(content), 32, 10**8).numpy().astype(int)
    # "turned" is to be turned by a quarter, clockwise.
    differences = np.abs(seen - np.rot90(whole(content, 32), -1 if kind == "turned" else 0))

    assert image.shape == (107, 161, 3)
    assert differences.mean() < 1.5
    assert differences.max() <= 20


def test_large_jpegs_give_the_same_pixels_eagerly_and_exported(tmp_path):
    files = [
        encode(photograph(0, width, height, enlarged=False))
        for width, height in [(100, 100), (400, 300), (641, 643), (1200, 1300)]
    ]
    module = tf.Module()
    module.serve = tf.function(
        lambda batch: decode_batch(batch, 75, 10**7),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )

    tf.saved_model.save(module, str(tmp_path))
    served = tf.saved_model.load(str(tmp_path)).serve(tf.constant(files)).numpy()

    for content, image in zip(files, served, strict=True):
        eager = decode_and_resize(tf.constant(content), 75, 10**7).numpy()
        np.testing.assert_array_equal(image, eager)


def test_jpeg_of_too_many_pixels_is_refused_though_few_would_be_decoded():
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 1000000 pixels"):
        decode_and_resize(tf.constant(encoded("JPEG", 1001, 1000)), 8, 1_000_000)
