"""Copies of a picture are found by their looks, and pictures that are none are not."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from components.image_example_gen.near_duplicates.candidates import MOST_BITS, near_pairs
from components.image_example_gen.near_duplicates.find import components, find_copies
from components.image_example_gen.near_duplicates.sketch import SIDE_PX, Sketch, sketch_of


def picture(seed: int) -> Image.Image:
    """Shapes of several sizes, as photographs have them: 160×120."""
    random = np.random.default_rng(seed)
    layers = [
        Image.fromarray(random.integers(0, 256, [side, side, 3], "uint8")).resize(
            (160, 120), Image.Resampling.BICUBIC
        )
        for side in (3, 6, 12)
    ]
    mixed = np.mean([np.asarray(layer, float) for layer in layers], axis=0)
    return Image.fromarray(mixed.astype("uint8"))


def sketch(image: Image.Image) -> Sketch | None:
    return sketch_of(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX).tobytes())


def recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("RGB")


def cut(image: Image.Image, left: int, top: int) -> Image.Image:
    return image.crop((left, top, left + 152, top + 114))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized": lambda image: image.resize((96, 72)),
    "of another shape": lambda image: image.resize((150, 150)),
    "recompressed": recompressed,
    "cut at the left top": lambda image: cut(image, 8, 6),
    "cut at the right bottom": lambda image: cut(image, 0, 0),
    "cut all around": lambda image: cut(image, 4, 3),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "of less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_and_nothing_else(kind):
    pictures = [picture(seed) for seed in range(40)]
    copies = [COPIES[kind](image) for image in pictures]

    pairs = find_copies([sketch(image) for image in [*pictures, *copies]])

    assert pairs.tolist() == [[row, row + 40] for row in range(40)]


def test_mirrored_copies_are_found_where_they_are_asked_for():
    pictures = [picture(seed) for seed in range(40)]
    sketches = [sketch(image) for image in [*pictures, *map(ImageOps.mirror, pictures)]]

    assert find_copies(sketches).tolist() == []
    assert find_copies(sketches, mirrored=True).tolist() == [[row, row + 40] for row in range(40)]


def test_pictures_of_one_colour_are_copies_of_nothing():
    flat = [Image.new("RGB", (20, 20), (level,) * 3) for level in (0, 1, 255)]

    assert [sketch(image) for image in flat] == [None] * 3
    assert find_copies([None, None]).tolist() == []
    assert find_copies([]).tolist() == []


def test_images_without_a_sketch_keep_their_places():
    one = sketch(picture(1))

    assert find_copies([None, one, None, sketch(picture(2)), one]).tolist() == [[1, 4]]


def test_a_thousand_copies_of_one_picture_are_all_joined():
    """More than a bucket's share is compared with: each is still a copy of some of them."""
    one = sketch(picture(1))

    pairs = find_copies([one] * 1000 + [sketch(picture(2))])

    assert len(set(components(1001, pairs)[:1000].tolist())) == 1
    assert 1000 not in pairs
    assert len(pairs) < 5000


def flipped(number: int, bits: int, random: np.random.Generator) -> int:
    for bit in random.choice(64, bits, replace=False):
        number ^= 1 << int(bit)
    return number


@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(0, 4))
@settings(max_examples=25)
def test_hashes_that_differ_in_few_bits_are_candidates_and_far_ones_are_not(seed, bits):
    random = np.random.default_rng(seed)
    hashes = [int(number) for number in random.integers(0, 2**63, 200, np.uint64)]
    hashes += [flipped(number, bits, random) for number in hashes]
    numbers = np.array(hashes, np.uint64)

    pairs = near_pairs(numbers[:, np.newaxis], numbers)

    assert {tuple(pair) for pair in pairs.tolist()} >= {(row, row + 200) for row in range(200)}
    assert (np.bitwise_count(numbers[pairs[:, 0]] ^ numbers[pairs[:, 1]]) <= MOST_BITS).all()
