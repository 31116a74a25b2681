"""Random changes to training images: what they may do and what they may not."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.augment import augment
from trainer.specs import NO_CHANGE, Augmentation

SIZE_PX = 12
ALL = Augmentation(flip=True, crop=0.6, colour=0.5)

seeds = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
shares = st.just(0.0) | st.floats(0.001, 0.9)
augmentations = st.builds(Augmentation, flip=st.booleans(), crop=shares, colour=shares)
# TensorFlow traces anew for every Augmentation: a hundred examples would take long.
few = settings(max_examples=15, deadline=None)


def picture(seed: int = 0, size_px: int = SIZE_PX) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, [size_px, size_px, 3], "uint8")


def plain(level: tuple[int, int, int]) -> np.ndarray:
    """One colour all over."""
    return np.full([SIZE_PX, SIZE_PX, 3], level, "uint8")


def changed(image: np.ndarray, seed: tuple[int, int], how: Augmentation) -> np.ndarray:
    return augment(tf.constant(image), tf.constant(seed), how).numpy()


@few
@given(augmentations, seeds, st.sampled_from([8, 12, 17]))
def test_shape_and_type_stay(how, seed, size_px):
    found = changed(picture(size_px=size_px), seed, how)

    assert found.shape == (size_px, size_px, 3)
    assert found.dtype == np.uint8


@few
@given(augmentations, seeds)
def test_same_seed_gives_the_same_image(how, seed):
    np.testing.assert_array_equal(changed(picture(), seed, how), changed(picture(), seed, how))


@pytest.mark.parametrize(
    "how",
    [Augmentation(flip=True), Augmentation(crop=0.5), Augmentation(colour=0.5), ALL],
    ids=str,
)
def test_another_seed_gives_another_image(how):
    found = {changed(picture(), (number, 0), how).tobytes() for number in range(20)}

    assert len(found) == 2 if how == Augmentation(flip=True) else len(found) > 15


def test_inside_a_graph_it_is_the_same_image():
    in_graph = tf.function(lambda image, seed: augment(image, seed, ALL))

    for number in range(5):
        seed = (number, 3)
        np.testing.assert_allclose(
            in_graph(tf.constant(picture()), tf.constant(seed)).numpy().astype(int),
            changed(picture(), seed, ALL).astype(int),
            atol=1,
        )


@few
@given(seeds)
def test_nothing_changes_unless_asked_for(seed):
    np.testing.assert_array_equal(changed(picture(), seed, Augmentation()), picture())


def test_only_an_augmentation_that_changes_something_is_true():
    assert not Augmentation()
    assert not NO_CHANGE
    assert all([Augmentation(flip=True), Augmentation(crop=0.1), Augmentation(colour=0.1)])


def test_half_of_the_images_are_mirrored_exactly_and_the_others_left_alone():
    image = picture()

    found = [changed(image, (number, 1), Augmentation(flip=True)) for number in range(200)]

    mirrored = [np.array_equal(one, image[:, ::-1]) for one in found]
    assert all(
        np.array_equal(one, image) or is_mirror
        for one, is_mirror in zip(found, mirrored, strict=True)
    )
    assert 70 <= sum(mirrored) <= 130


@few
@given(seeds, shares, st.tuples(*[st.integers(0, 255)] * 3))
def test_crop_of_one_colour_is_that_colour(seed, share, colour):
    image = plain(colour)

    np.testing.assert_array_equal(changed(image, seed, Augmentation(crop=share)), image)


@few
@given(seeds)
def test_crop_invents_no_pixel_outside_the_range_of_the_image(seed):
    image = np.clip(picture(), 100, 140)

    found = changed(image, seed, Augmentation(crop=0.5))

    assert found.min() >= image.min()
    assert found.max() <= image.max()


def test_crop_shows_a_part_of_the_image_as_large_as_asked_for():
    """Of an image whose pixels tell their place, the corners tell the crop's sides."""
    size_px = 100
    ramp = np.linspace(0, 250, size_px)
    image = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], 0.0), -1).astype("uint8")

    for number in range(30):
        found = changed(image, (number, 5), Augmentation(crop=0.4)).astype(float)
        height = (found[-1, 50, 0] - found[0, 50, 0]) / 250
        width = (found[50, -1, 1] - found[50, 0, 1]) / 250
        assert 0.6 - 0.05 <= height * width <= 1.0
        assert 0.7 <= width / height <= 1.4


@few
@given(seeds, st.integers(0, 255), shares)
def test_colour_leaves_grey_grey(seed, level, share):
    found = changed(plain((level, level, level)), seed, Augmentation(colour=share)).astype(int)

    # Saturation goes by way of hue and back, which costs a rounding.
    assert np.ptp(found) <= 1


@few
@given(seeds, st.integers(0, 255))
def test_colour_moves_brightness_by_the_share_asked_for_at_most(seed, level):
    """One colour has no contrast, and grey no saturation: brightness alone is left."""
    found = changed(plain((level,) * 3), seed, Augmentation(colour=0.2)).astype(int)

    assert np.all(np.abs(found - level) <= 0.2 * 255 + 1)


def test_colour_changes_no_place():
    image = plain((30, 30, 30))
    image[2:5, 7:9] = 220

    for number in range(10):
        found = changed(image, (number, 2), Augmentation(colour=0.4))
        inside = found[2:5, 7:9]
        assert np.all(inside == inside[0, 0])
        assert inside[0, 0, 0] > found[0, 0, 0]
