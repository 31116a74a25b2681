"""What Transform runs: decode, resize, number the labels. Called by TFX by its import path."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer import keys
from trainer.data.images import decode_and_resize, serialize_image
from trainer.specs import ImageReading, TransformArgs, from_json

LABELS = "labels"
"""In `custom_config`: the class names, which `components.transform.executor` adds."""

# The id of a label that is none of the ingested classes: to be refused where it is written.
UNKNOWN_LABEL_ID = -1


def preprocessing_fn(
    inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor]:
    """Turns a batch of ingested examples into what both fits and the Evaluator read.

    Args:
      inputs: string [batch] or [batch, 1] tensors: file bytes, label, id, path, group and weight.
      custom_config: the fields of `TransformArgs`, and `LABELS`, the class names by label id.

    Returns:
      Serialized uint8 images, label ids (int64) and names, ids, paths, groups and weights, all
      [batch]. The id of a label that is not among these names is `UNKNOWN_LABEL_ID`.
    """
    flat = {name: tf.reshape(tensor, [-1]) for name, tensor in inputs.items()}
    own = {key: value for key, value in custom_config.items() if key != LABELS}
    args = from_json(TransformArgs, own)
    return {
        keys.IMAGE: _decoder(args.image_size_px, args.max_pixels, args.reading)(
            flat[keys.IMAGE_BYTES]
        ),
        keys.LABEL_ID: _number(flat[keys.LABEL], custom_config[LABELS]),
        keys.LABEL: flat[keys.LABEL],
        keys.ID: flat[keys.ID],
        keys.PATH: flat[keys.PATH],
        keys.GROUP: flat[keys.GROUP],
        keys.WEIGHT: flat[keys.WEIGHT],
    }


def _number(labels: tf.Tensor, names: list[str]) -> tf.Tensor:
    """Returns each label's position among the names, int64 [batch].

    Compared with every name instead of looked up in a table: Transform would have to
    initialise one, and takes few kinds.
    """
    matches = tf.equal(labels[:, tf.newaxis], tf.constant(names)[tf.newaxis, :])
    ids = tf.argmax(tf.cast(matches, tf.int8), axis=1)
    return tf.where(tf.reduce_any(matches, axis=1), ids, UNKNOWN_LABEL_ID)


@functools.cache
def _decoder(
    size_px: int, max_pixels: int, reading: ImageReading
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Files to serialized images, string [batch] both.

    A function that is kept, because Transform traces `preprocessing_fn` several times.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def decode(image_bytes: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda one: serialize_image(decode_and_resize(one, size_px, max_pixels, reading)),
            image_bytes,
            fn_output_signature=tf.string,
            parallel_iterations=8,
        )

    return decode
