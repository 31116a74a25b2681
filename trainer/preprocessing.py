"""What Transform runs: decode, resize, label vocabulary. Called by TFX by its import path."""

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
        features.IMAGE: tf.map_fn(
            lambda one: serialize_image(decode_and_resize(one, size_px, max_pixels)),
            flat[features.IMAGE_BYTES],
            fn_output_signature=tf.string,
            parallel_iterations=8,
        ),
        features.LABEL_ID: tft.compute_and_apply_vocabulary(
            flat[features.LABEL], vocab_filename=features.LABEL_VOCABULARY
        ),
        features.LABEL: flat[features.LABEL],
        features.ID: flat[features.ID],
        features.PATH: flat[features.PATH],
    }
