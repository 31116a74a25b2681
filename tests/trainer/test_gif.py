"""GIFs: the first frame is read, whatever the screen claims and whatever follows."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainer.data.decoding import decode, read_facts
from trainer.data.gif import cut_after_first_frame
from trainer.data.images import decode_and_resize, decode_batch
from trainer.specs import ImageReading

# Traced once: step by step, a walk takes a hundred times as long.
size_of = tf.function(
    lambda content: read_facts(content, ImageReading()).size,
    input_signature=[tf.TensorSpec([], tf.string)],
)
cut = tf.function(cut_after_first_frame, input_signature=[tf.TensorSpec([], tf.string)])
decoded = tf.function(
    lambda content: decode(content, 8, 10_000).pixels,
    input_signature=[tf.TensorSpec([], tf.string)],
)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, [height, width, 3], "uint8")
    return Image.fromarray(pixels).quantize(64)


def encoded(first: Image.Image, *others: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, **options)
    return buffer.getvalue()


def with_screen(content: bytes, width: int, height: int) -> bytes:
    return content[:6] + struct.pack("<HH", width, height) + content[10:]


def with_blocks(content: bytes, blocks: bytes) -> bytes:
    """Puts blocks between the screen's colour table and the first frame."""
    screen = 13 + (3 * 2 ** (1 + content[10] % 8) if content[10] >= 128 else 0)
    return content[:screen] + blocks + content[screen:]


def frame_claiming(width: int, height: int) -> bytes:
    """A frame without pixels."""
    return b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x08\x00"


def whole(content: bytes) -> np.ndarray:
    return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()


def test_frame_larger_than_its_screen_is_refused_unread():
    content = with_screen(encoded(Image.new("P", (3000, 3000))), 1, 1)

    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 10000 pixels"):
        decode_and_resize(tf.constant(content), 8, 10_000)


def test_exported_model_reads_first_frames_alone_and_refuses_large_ones(tmp_path):
    module = tf.Module()
    module.serve = tf.function(
        lambda batch: decode_batch(batch, 8, 10_000),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path))
    served = tf.saved_model.load(str(tmp_path)).serve
    content = encoded(noise(9, 9))
    followed = content[:-1] + frame_claiming(60_000, 30_000) + b";"
    larger = with_screen(encoded(Image.new("P", (300, 300))), 1, 1)

    first, second = served(tf.constant([content, followed])).numpy()

    np.testing.assert_array_equal(first, second)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 10000 pixels"):
        served(tf.constant([content, larger]))


def test_frames_after_the_first_are_never_read():
    content = encoded(noise(9, 9))
    followed = content[:-1] + frame_claiming(60_000, 30_000) * 1000 + b";"

    assert cut(tf.constant(followed)).numpy() == content
    np.testing.assert_array_equal(decoded(tf.constant(followed)), whole(content))


def test_animation_is_taken_though_its_frames_together_have_more_pixels_than_allowed():
    content = encoded(*(noise(60, 40, seed) for seed in range(10)))

    image = decoded(tf.constant(content))

    assert Image.open(io.BytesIO(content)).n_frames == 10
    np.testing.assert_array_equal(image, whole(content))


@settings(max_examples=60, deadline=None)
@given(
    sides=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    num_frames=st.integers(1, 4),
    interlace=st.booleans(),
    own_tables=st.booleans(),
    comment=st.binary(max_size=1000),
    background=st.none() | st.integers(0, 63),
    clear=st.booleans(),
)
def test_what_pillow_writes_has_its_size_and_first_picture(
    sides, num_frames, interlace, own_tables, comment, background, clear
):
    frames = [noise(*sides, seed) for seed in range(num_frames if own_tables else 1)]
    frames += [frames[0].transpose(Image.Transpose.ROTATE_180)] * (num_frames - len(frames))
    options = {} if background is None else {"background": background}
    if clear and background is not None:
        options["transparency"] = background

    content = encoded(*frames, interlace=interlace, comment=comment, loop=0, **options)

    assert size_of(tf.constant(content)).numpy().tolist() == [sides[1], sides[0]]
    assert content.startswith(cut(tf.constant(content)).numpy()[:-1])
    # Pillow leaves a clear colour out that no pixel has.
    if "transparency" in Image.open(io.BytesIO(content)).info:
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="first frame of the GIF is transparent"
        ):
            decoded(tf.constant(content))
        return
    np.testing.assert_array_equal(decoded(tf.constant(content)), whole(content))


@pytest.mark.parametrize("length", [1, 2, 100, 254, 255])
def test_sub_blocks_may_have_any_length(length):
    content = encoded(noise(80, 80))
    comment = b"!\xfe" + (bytes([length]) + b"," * length) * 40 + b"\x03abc\x00"
    longer = with_blocks(content, comment)

    assert size_of(tf.constant(longer)).numpy().tolist() == [80, 80]
    assert cut(tf.constant(longer)).numpy() == longer


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_file_that_ends_before_its_first_frame_does_is_refused(data):
    content = encoded(noise(70, 50), noise(70, 50, seed=1), comment=b"x" * 300)
    first_ends = len(cut(tf.constant(content)).numpy()) - 1
    length = data.draw(st.integers(0, len(content)))

    if length >= first_ends:
        assert decoded(tf.constant(content[:length])).shape == (50, 70, 3)
    else:
        with pytest.raises(tf.errors.InvalidArgumentError):
            decoded(tf.constant(content[:length]))


@settings(max_examples=100, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(6, 900), st.integers(0, 255)), min_size=1, max_size=5),
    length=st.integers(6, 900),
)
def test_damaged_file_is_refused_or_has_the_size_that_was_asked_about(edits, length):
    content = bytearray(encoded(noise(20, 15), noise(20, 15, seed=1), comment=b"x" * 50))
    for offset, value in edits:
        content[offset % len(content)] = value
    damaged = tf.constant(bytes(content[:length]))

    try:
        image = decoded(damaged)
    except tf.errors.InvalidArgumentError:
        return

    assert list(image.shape[:2]) == size_of(damaged).numpy().tolist()


def test_file_without_a_frame_has_no_size():
    content = encoded(noise(9, 9))

    assert size_of(tf.constant(content[:13] + b";" + bytes(20))).numpy().tolist() == [0, 0]
    assert size_of(tf.constant(b"GIF89a" + bytes(30))).numpy().tolist() == [0, 0]


def test_search_for_a_frame_ends_though_a_file_has_millions_of_blocks():
    content = encoded(noise(9, 9))
    hostile = with_blocks(content, b"!\xfe" + b"\x01a\x02ab" * 1_000_000 + b"\x00")

    assert size_of(tf.constant(hostile)).numpy().tolist() == [0, 0]
