"""The served model: encoded bytes in, probabilities and class names out.

Written as a bare `tf.Module` that holds variables and functions only. The SavedModel
that Keras writes of InceptionV3 takes 13 s to write and 7 to 17 s to load; this one
about 2 s and 1 s, which counts when an Evaluator loads it many times.
"""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from trainer.data.fit_data import Parse
from trainer.data.images import decode_batch
from trainer.records import to_json
from trainer.specs import SERVED_FILE, ServedImages, ServedModel

SERVING_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
EVALUATION_SIGNATURE = "evaluate"
PROBABILITIES = "probabilities"
LOGITS = "logits"

LABELS_FILE = "labels.txt"
CONFIG_FILE = "config.json"
DATA_FILE = "data.json"

# Bounds the activations of one call: about 1 GB at 299 px, however large the batch.
_CHUNK = 32


@dataclass(frozen=True)
class ExportInfo:
    """What travels with a served model, as assets.

    Attributes:
      labels: class names; the position is the label id.
      config: the effective config of the run.
      data: where the images came from and their fingerprint.
    """

    labels: Sequence[str]
    config: dict[str, Any]
    data: dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """How the Evaluator asks the model: by the examples that the fits read.

    Attributes:
      parse: one example to (input, label id).
      trained_part: the part of the served model from these inputs to the logits.
    """

    parse: Parse
    trained_part: keras.Model


Export = Callable[[keras.Model, ServedImages, Evaluation, ExportInfo, str], None]
"""As `export_saved_model`."""


def export_saved_model(
    model: keras.Model,
    images: ServedImages,
    evaluation: Evaluation,
    info: ExportInfo,
    directory: str,
) -> None:
    """Writes a SavedModel with two signatures.

    `serving_default(image_bytes: string [n])`: JPEG, PNG, GIF, BMP or, if `images` says so,
    WebP files, to
    `probabilities` float32 [n, classes] in the order of the label ids, `label_id`
    int64 [n], `class_name` string [n], and `class_names` string [n, classes].
    `evaluate(examples: string [n])`: serialized examples as the fits read them, to
    `probabilities` and `logits`, float32 [n, classes] both.

    Args:
      model: from `build_classifier`, built outside any strategy.
      images: of the first signature.
      evaluation: of the second; shares the model's weights.
      info: stored as assets.
      directory: where to; local or remote.
    """
    module = tf.Module()
    module.weights = model.weights
    names = tf.constant(list(info.labels))

    # Nothing here is for autograph to rewrite; without it tracing takes half the time.
    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False
    )
    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = _in_chunks(
            lambda chunk: _logits(
                model,
                decode_batch(chunk, images.size_px, images.max_pixels, images.reading, images.webp),
            ),
            image_bytes,
            len(info.labels),
        )
        result = tf.nn.softmax(logits)
        label_id = tf.argmax(result, axis=-1)
        return {
            PROBABILITIES: result,
            "label_id": label_id,
            "class_name": tf.gather(names, label_id),
            "class_names": tf.broadcast_to(names, tf.shape(result)),
        }

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False
    )
    def evaluate(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = _in_chunks(
            lambda chunk: _logits(evaluation.trained_part, _parse_inputs(evaluation, chunk)),
            examples,
            len(info.labels),
        )
        return {PROBABILITIES: tf.nn.softmax(logits), LOGITS: logits}

    module.serve, module.evaluate = serve, evaluate
    with tempfile.TemporaryDirectory(prefix="thaw-assets-") as folder:
        module.assets = [tf.saved_model.Asset(path) for path in _write_assets(info, images, folder)]
        tf.saved_model.save(
            module,
            directory,
            signatures={SERVING_SIGNATURE: module.serve, EVALUATION_SIGNATURE: module.evaluate},
        )


def _logits(model: keras.Model, inputs: tf.Tensor) -> tf.Tensor:
    return model(inputs, training=False)


def _parse_inputs(evaluation: Evaluation, examples: tf.Tensor) -> tf.Tensor:
    (given,) = evaluation.trained_part.inputs
    return tf.map_fn(
        lambda one: evaluation.parse(one)[0],
        examples,
        fn_output_signature=tf.TensorSpec(given.shape[1:], given.dtype),
    )


def _in_chunks(
    function: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor, width: int
) -> tf.Tensor:
    """Applies `function` to at most `_CHUNK` inputs at a time: float32 [n, width]."""
    size = tf.shape(inputs)[0]
    count = (size + _CHUNK - 1) // _CHUNK
    results = tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=[None, width])

    def step(index: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        chunk = inputs[index * _CHUNK : (index + 1) * _CHUNK]
        return index + 1, done.write(index, function(chunk))

    _, results = tf.while_loop(
        lambda index, _: index < count, step, [0, results], parallel_iterations=1
    )
    return tf.ensure_shape(results.concat(), [None, width])


def _write_assets(info: ExportInfo, images: ServedImages, folder: str) -> list[str]:
    served = ServedModel(images, images.lowest_tensorflow)
    texts = {
        LABELS_FILE: "".join(f"{name}\n" for name in info.labels),
        CONFIG_FILE: json.dumps(info.config, indent=2, sort_keys=True),
        DATA_FILE: json.dumps(info.data, indent=2, sort_keys=True),
        SERVED_FILE: json.dumps(to_json(served), indent=2, sort_keys=True),
    }
    paths = [os.path.join(folder, name) for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return paths
