"""Weights of single images, packed with those of a batch's rows into Keras's `sample_weight`.

Losses need both: a row's weight is its share of the global batch (`shares.BatchShare`), an
image's weight says how much it counts.
"""

import tensorflow as tf


def pack_weights(of_rows: tf.Tensor, of_images: tf.Tensor) -> tf.Tensor:
    """Returns float32 [batch, 2] of two float32 [batch]."""
    return tf.stack([of_rows, of_images], axis=1)


def unpack_weights(
    sample_weight: tf.Tensor | None,
) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """Takes apart what a fit was given: the rows' weights, and the images' if they have any.

    Args:
      sample_weight: of `pack_weights`; or float32 [batch] or [batch, 1], the rows' alone; or None.

    Returns:
      Two float32 [batch]; None where there are none.
    """
    if sample_weight is None or sample_weight.shape.rank == 1:
        return sample_weight, None
    if sample_weight.shape[-1] == 2:
        of_rows, of_images = tf.unstack(sample_weight, axis=1)
        return of_rows, of_images
    return sample_weight, None
