"""What Transform runs: decode, resize, label vocabulary. Called by TFX by its import path."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from trainer import features
from trainer.images import decode_and_resize, serialize_image

# What the error of TensorFlow says among other things; {} is the label.
UNKNOWN_LABEL = "no training image has the label '{}'."


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

    Raises:
      tf.errors.InvalidArgumentError: on a label that no training image has, which would
        otherwise be numbered -1.
    """
    flat = {name: tf.reshape(tensor, [-1]) for name, tensor in inputs.items()}
    size_px, max_pixels = custom_config["image_size_px"], custom_config["max_pixels"]
    return {
        features.IMAGE: _decoder(size_px, max_pixels)(flat[features.IMAGE_BYTES]),
        features.LABEL_ID: _without_unknown(
            tft.compute_and_apply_vocabulary(
                flat[features.LABEL], vocab_filename=features.LABEL_VOCABULARY
            ),
            flat[features.LABEL],
        ),
        features.LABEL: flat[features.LABEL],
        features.ID: flat[features.ID],
        features.PATH: flat[features.PATH],
    }


def _without_unknown(label_ids: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the ids unchanged, int64 [batch]; fails on -1, with `UNKNOWN_LABEL`.

    By way of text, which is converted back: Transform also runs operations with side
    effects, such as assertions, while it collects the vocabulary, when every id is -1.
    """
    before, after = UNKNOWN_LABEL.split("{}")
    problems = tf.strings.join([before, labels, after])
    texts = tf.where(label_ids < 0, problems, tf.strings.as_string(label_ids))
    return tf.strings.to_number(texts, tf.int64)


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
