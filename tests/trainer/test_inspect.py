"""What is rejected before anything is learned: as much as full decoding would refuse."""

import hashlib

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.image_example_gen.inspect import ImageRejected, Inspected, inspect_image
from tests.trainer.photographs import KINDS, encode, photograph
from trainer.data.images import decode_and_resize
from trainer.data.transcode import make_decodable
from trainer.specs import ImageReading

ALL_KINDS = [*KINDS, "MPO"]


def small(kind: str) -> bytes:
    return encode(photograph(0, 67, 45, enlarged=True), kind)


def reason(content: bytes) -> str | None:
    try:
        inspect_image("a.jpg", content, max_pixels=10**6)
    except ImageRejected as reason:
        return str(reason)
    return None


def decodes_in_full(content: bytes) -> bool:
    try:
        tf.io.decode_image(content, channels=3, expand_animations=False)
    except tf.errors.InvalidArgumentError:
        return False
    return True


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_of_jpeg_passes_with_its_size_and_hash(kind):
    content = small(kind)

    found = inspect_image("a.JPG", content, max_pixels=67 * 45)

    sides = (67, 45) if kind == "turned" else (45, 67)
    assert found == Inspected(hashlib.sha256(content).hexdigest(), *sides, "JPEG")


@pytest.mark.parametrize("kind", ALL_KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_jpeg_that_ends_anywhere_too_early_is_refused_exactly_as_by_full_decoding(kind, data):
    content = small(kind)
    after_headers = content.index(b"\xff\xda") + 16
    cut = data.draw(st.integers(after_headers, len(content)))

    refused = reason(content[:cut])

    # An MPO's first image is the one that is read: the second may be missing.
    assert refused == (None if decodes_in_full(content[:cut]) else "the image data is damaged")
    assert kind == "MPO" or (refused is None) == (cut == len(content))


@pytest.mark.parametrize("missing", [1, 2, 3, 10, 1_000, 100_000])
def test_large_photograph_that_ends_too_early_is_refused(missing):
    content = encode(photograph(0, 1200, 800, enlarged=False))

    assert reason(content[:-missing]) == "the image data is damaged"


@pytest.mark.parametrize("kind", ALL_KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_passes_with_a_changed_byte_is_decoded_later_at_every_scale(kind, data):
    content = bytearray(small(kind))
    content[data.draw(st.integers(3, len(content) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(content)

    if reason(changed) is None:
        changed = make_decodable(changed, 10**6, ImageReading()).content
        for size_px in (2, 4, 8, 64):
            decode_and_resize(tf.constant(changed), size_px, 10**6)
        assert decodes_in_full(changed)


def test_more_pixels_than_allowed_are_refused_undecoded():
    content = encode(photograph(0, 1100, 1000, enlarged=True))

    assert reason(content) == "more than 1,000,000 pixels"
