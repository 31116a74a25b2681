"""Random changes to training images that leave their class as it was."""

import tensorflow as tf

from trainer.specs import Augmentation


def augment(image: tf.Tensor, seed: tf.Tensor, how: Augmentation) -> tf.Tensor:
    """Changes one image at random; the same seed gives the same result.

    Crops keep an aspect ratio between 3:4 and 4:3 (Szegedy et al. 2015, as in
    `tf.image.stateless_sample_distorted_bounding_box`) and are resized back.

    Args:
      image: uint8 [size, size, 3].
      seed: int [2].
      how: what may change.

    Returns:
      uint8 [size, size, 3].
    """
    size = image.shape
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 5))
    if how.flip:
        image = tf.image.stateless_random_flip_left_right(image, seeds[0])
    if how.crop:
        image = _crop(image, seeds[1], how.crop)
    if how.colour:
        low, high = 1 - how.colour, 1 + how.colour
        pixels = tf.cast(image, tf.float32) / 255.0
        pixels = tf.image.stateless_random_brightness(pixels, how.colour, seeds[2])
        pixels = tf.image.stateless_random_contrast(pixels, low, high, seeds[3])
        pixels = tf.image.stateless_random_saturation(
            tf.clip_by_value(pixels, 0.0, 1.0), low, high, seeds[4]
        )
        image = _to_uint8(pixels * 255.0)
    return tf.ensure_shape(image, size)


def _crop(image: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        bounding_boxes=tf.zeros([1, 0, 4]),
        seed=seed,
        min_object_covered=0.0,
        area_range=(1.0 - share, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    cut = tf.slice(image, begin, size)
    return _to_uint8(tf.image.resize(cut, image.shape[:2]))


def _to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)
