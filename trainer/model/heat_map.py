"""Where in an image a classifier sees a class."""

import tensorflow as tf

from trainer.model.parts import ClassifierParts


def heat_maps(parts: ClassifierParts, images: tf.Tensor, label_ids: tf.Tensor) -> tf.Tensor:
    """Grad-CAM at the boundary (Selvaraju et al. 2017).

    Args:
      parts: of the classifier.
      images: uint8 [n, size, size, 3].
      label_ids: int64 [n], the class to look for in each.

    Returns:
      float32 [n, height, width] of the boundary's feature map, 0 to 1; 1 is the place that speaks
      for the class most. All 0 where no place does.
    """
    features = parts.trunk(images, training=False)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(features)
        logits = parts.above(features, training=False)
        chosen = tf.gather(logits, label_ids, axis=1, batch_dims=1)
    gradient = tape.gradient(chosen, features)
    weights = tf.reduce_mean(gradient, axis=[1, 2], keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))
    return tf.math.divide_no_nan(heat, tf.reduce_max(heat, axis=[1, 2], keepdims=True))
