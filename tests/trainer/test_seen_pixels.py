"""A file means what a person sees, for ingestion, Transform, the served model and `predict`.

The graph that is tried here is the one that is traced in all of them.
"""

import functools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.image_example_gen.inspect import ImageRejected, inspect_image
from tests.trainer.image_corpus import Sample, corpus, encode, exif, picture, profile, seen
from tests.trainer.photographs import encode as encode_photograph
from tests.trainer.photographs import photograph
from trainer.data.decoding import decode
from trainer.data.images import decode_and_resize
from trainer.data.rare import of_bytes
from trainer.data.transcode import UnreadableImage, make_decodable
from trainer.specs import ImageReading

SIZE_PX, MAX_PIXELS = 20, 10_000
READING = ImageReading()

# In levels of 255. The resizing and the JPEG decoders of TensorFlow and Pillow differ by
# less; colours are converted after the resizing, where they blend a little differently.
MEAN, LARGEST, MEAN_DAMAGED = 1.5, 12, 3

served = of_bytes(lambda content: decode_and_resize(content, SIZE_PX, MAX_PIXELS, READING))


def expected(content: bytes) -> np.ndarray | None:
    """The square that a person sees; None of a file that Pillow does not read."""
    try:
        image = seen(content)
    except Exception:  # Pillow raises many kinds
        return None
    return np.asarray(image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR)).astype(int)


def answer(content: bytes) -> np.ndarray | None:
    """What the served model makes of these bytes; None if it refuses them."""
    try:
        return served(tf.constant(content)).numpy().astype(int)
    except (tf.errors.InvalidArgumentError, tf.errors.DataLossError):
        return None


def is_alike(one: np.ndarray, other: np.ndarray) -> bool:
    difference = np.abs(one - other)
    return bool(difference.mean() <= MEAN and difference.max() <= LARGEST)


def is_alike_though_damaged(one: np.ndarray, other: np.ndarray) -> bool:
    """As above, but for single pixels, and for noise."""
    return bool(np.abs(one - other).mean() <= MEAN_DAMAGED)


@pytest.mark.parametrize("kind", ["plain", "full colour", "half colour", "progressive", "grey"])
@pytest.mark.parametrize("number", [0, 1])
def test_jpeg_is_decoded_to_the_bytes_that_every_viewer_shows(kind, number):
    content = encode_photograph(photograph(number, 300, 200, enlarged=False), kind)

    pixels = decode(tf.constant(content), 10_000, 10**6, READING).pixels

    np.testing.assert_array_equal(pixels, np.asarray(seen(content)))


@pytest.mark.parametrize("sample", corpus(), ids=lambda sample: sample.name)
def test_file_looks_as_a_person_sees_it(sample):
    wanted = expected(sample.content)

    image = make_decodable(sample.content, MAX_PIXELS, READING)
    pixels = answer(image.content)

    assert image.is_transcoded == (not sample.in_graph)
    assert (image.content == sample.content) == sample.in_graph
    if wanted is not None:
        assert is_alike(pixels, wanted)
    # A served model refuses what it would show otherwise.
    assert (answer(sample.content) is None) == image.is_transcoded


def in_shape(image: Image.Image, shape: str, colour: tuple[int, int, int]) -> np.ndarray:
    """A square of a picture that is higher than wide, by Pillow."""
    width, height = image.size
    if shape == "crop":
        top = (height - width) / 2
        box = (0, top, width, top + width)
        return np.asarray(image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR, box))
    narrow = round(SIZE_PX * width / height)
    square = Image.new("RGB", (SIZE_PX, SIZE_PX), colour)
    inner = image.resize((narrow, SIZE_PX), Image.Resampling.BILINEAR)
    square.paste(inner, ((SIZE_PX - narrow) // 2, 0))
    return np.asarray(square)


@pytest.mark.parametrize("shape", ["crop", "pad"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_picture_keeps_its_aspect_ratio_whichever_way_it_was_held(shape, orientation):
    held = Image.Transpose
    turns = {3: held.ROTATE_180, 6: held.ROTATE_90, 8: held.ROTATE_270}
    image = picture()
    stored = image.transpose(turns[orientation]) if orientation in turns else image
    content = encode(stored, "JPEG", quality=95, subsampling=0, exif=exif(orientation))
    reading = ImageReading(shape, (10, 20, 250))

    pixels = decode_and_resize(tf.constant(content), SIZE_PX, MAX_PIXELS, reading).numpy()

    difference = np.abs(pixels - in_shape(image, shape, (10, 20, 250)).astype(int))
    assert difference.mean() < 2.5
    assert difference.max() <= LARGEST


def test_transparent_pixels_show_the_colour_of_the_config():
    clear = encode(Image.new("RGBA", (9, 9), (0, 0, 0, 0)), "PNG")
    half = encode(Image.new("RGBA", (9, 9), (255, 0, 0, 128)), "WEBP", lossless=True)
    reading = ImageReading(background=(10, 20, 250))

    pixels = [
        decode_and_resize(tf.constant(content), 4, 100, reading).numpy()[0, 0].tolist()
        for content in (clear, half)
    ]

    assert pixels == [[10, 20, 250], [133, 10, 125]]


def test_profiles_are_ignored_if_the_config_says_so():
    wide = encode(picture(), "PNG", icc_profile=profile("gamma"))
    reading = ImageReading(colour_profiles="ignore")

    def square(content: bytes, reading: ImageReading) -> np.ndarray:
        return decode_and_resize(tf.constant(content), SIZE_PX, MAX_PIXELS, reading).numpy()

    plain = square(encode(picture(), "PNG"), READING)
    assert np.array_equal(square(wide, reading), plain)
    assert not np.array_equal(square(wide, READING), plain)


def test_grey_profile_is_ignored_without_re_encoding_if_the_config_says_so():
    content = encode(picture().convert("L"), "JPEG", icc_profile=profile("grey"))
    reading = ImageReading(colour_profiles="ignore")

    assert make_decodable(content, MAX_PIXELS, READING).is_transcoded
    assert not make_decodable(content, MAX_PIXELS, reading).is_transcoded


def damaged(sample: Sample) -> Iterator[bytes]:
    """The file cut off at every sixteenth, with bits flipped, and with two words swapped."""
    content, chance = sample.content, np.random.default_rng(len(sample.content))
    for sixteenth in range(1, 16):
        yield content[: len(content) * sixteenth // 16]
    for end in (len(content), 200, 60):
        for place in chance.integers(2, min(end, len(content)), 4):
            flipped = bytearray(content)
            flipped[place] ^= 1 << int(chance.integers(8))
            yield bytes(flipped)
    for start in chance.integers(2, min(len(content), 700) - 8, 3):
        yield (
            content[:start]
            + content[start + 4 : start + 8]
            + content[start : start + 4]
            + (content[start + 8 :])
        )


@functools.cache
def outcomes() -> tuple[Counter[str], dict[str, list[str]]]:
    """How often each thing happened to damaged files; and what should not have."""
    counts, wrong = Counter[str](), {"differs": [], "crashes": [], "unlike ingestion": []}
    for sample in corpus()[::2]:
        for number, content in enumerate(damaged(sample)):
            try:
                outcome = outcome_of(content)
            except Exception as error:
                outcome = "crashes"
                wrong[outcome].append(f"{sample.name} {number}: {error!r}")
            else:
                if outcome in wrong:
                    wrong[outcome].append(f"{sample.name} {number}")
            counts[outcome] += 1
    return counts, wrong


def outcome_of(content: bytes) -> str:
    pixels = answer(content)
    try:
        image = make_decodable(content, MAX_PIXELS, READING)
    except UnreadableImage:
        assert pixels is None
        assert not is_ingested(content)
        return "refused"
    if image.is_transcoded:
        assert pixels is None
        pixels = answer(image.content)
    if is_ingested(content) and pixels is None:
        return "unlike ingestion"
    if pixels is None:
        return "refused"
    wanted = expected(content)
    if wanted is None:
        return "refused by Pillow alone"
    return "the same" if is_alike_though_damaged(pixels, wanted) else "differs"


def is_ingested(content: bytes) -> bool:
    try:
        inspect_image("a.png", content, MAX_PIXELS)
    except ImageRejected:
        return False
    return True


def test_damaged_files_look_as_people_see_them_or_are_refused():
    counts, wrong = outcomes()

    assert wrong == {"differs": [], "crashes": [], "unlike ingestion": []}
    assert sum(counts.values()) >= 2_000
    assert counts["the same"] >= 400
    assert counts["refused"] >= 800
