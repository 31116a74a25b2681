"""What Transform runs: decode, resize, label vocabulary. Called by TFX by its import path."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from trainer import features
from trainer.images import decode_and_resize, serialize_image


def preprocessing_fn(
    inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor]:
    """Turns a batch of ingested examples into what both fits and the Evaluator read.

    Args:
      inputs: string [batch] or [batch, 1] tensors: file bytes, label, id and path.
      custom_config: `image_size_px` and `max_pixels`.

    Returns:
      Serialized uint8 images, label ids (int64) and names, ids and paths, all [batch].
      Labels are numbered by falling frequency in the training split.
    """
    flat = {name: tf.reshape(tensor, [-1]) for name, tensor in inputs.items()}
    size_px, max_pixels = custom_config["image_size_px"], custom_config["max_pixels"]
    return {
        features.IMAGE: _decoder(size_px, max_pixels)(flat[features.IMAGE_BYTES]),
        features.LABEL_ID: tft.compute_and_apply_vocabulary(
            flat[features.LABEL], vocab_filename=features.LABEL_VOCABULARY
        ),
        features.LABEL: flat[features.LABEL],
        features.ID: flat[features.ID],
        features.PATH: flat[features.PATH],
    }


@functools.cache
def _decoder(size_px: int, max_pixels: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Files to serialized images, string [batch] both.

    A function that is kept, because Transform traces `preprocessing_fn` several times.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def decode(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda one: serialize_image(decode_and_resize(one, size_px, max_pixels)),
            image_bytes,
            fn_output_signature=tf.string,
            parallel_iterations=8,
        )

    return decode
