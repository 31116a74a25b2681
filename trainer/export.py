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

from trainer.calibration.fit import Fitted
from trainer.calibration.record import CALIBRATION_FILE
from trainer.calibration.unknown import KnownImages
from trainer.data.fit_data import Parse
from trainer.data.images import decode_batch, resize_batch
from trainer.data.predictions import REFERENCE_TOP
from trainer.model.heat_map import heat_maps
from trainer.model.parts import ClassifierParts
from trainer.records import to_json
from trainer.specs import SERVED_FILE, ServedImages, ServedModel

SERVING_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
EVALUATION_SIGNATURE = "evaluate"
EXPLANATION_SIGNATURE = "explain"
PIXELS_SIGNATURE = "pixels"
PIXELS = "pixels"
PROBABILITIES = "probabilities"
CALIBRATED_PROBABILITIES = "calibrated_probabilities"
LOGITS = "logits"
UNKNOWN_SCORE = "unknown_score"
IS_KNOWN = "is_known"
HEAT_MAP = "heat_map"

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


Tensors = dict[str, tf.Tensor]

Export = Callable[[ClassifierParts, ServedImages, Parse, Fitted, ExportInfo, str], None]
"""As `export_saved_model`."""


def export_saved_model(
    parts: ClassifierParts,
    images: ServedImages,
    parse: Parse,
    fitted: Fitted,
    info: ExportInfo,
    directory: str,
) -> None:
    """Writes a SavedModel with four signatures.

    `serving_default(image_bytes: string [n])`: JPEG, PNG, GIF, BMP or, if `images` says so,
    WebP files, to
    `probabilities` float32 [n, classes] in the order of the label ids, `label_id`
    int64 [n], `class_name` string [n], and `class_names` string [n, classes]; further
    `calibrated_probabilities` float32 [n, classes], by the temperature that was fitted on
    validation, `unknown_score` float32 [n], the higher the less like a training image, and
    `is_known` bool [n], whether that is below the threshold.

    `pixels(pixels: uint8 [n, height, width, 3])`: images of any one size, upright, in sRGB, to the
    same outputs. They are resized as files are once decoded, and not at all if they have the
    model's size.

    `evaluate(examples: string [n])`: serialized examples as the fits read them, to
    `probabilities` and `logits`, float32 [n, classes] both, and `unknown_score`; of a model with
    linear probes also their logits, by the names of `REFERENCES`.

    `explain(image_bytes: string [n], label_id: int64 [n])`: to `heat_map` float32 [n, height,
    width], 0 to 1: where the model sees the class.

    The module's function `predict` is no signature: other formats are converted from it. It maps
    uint8 [n, size_px, size_px, 3] to `logits` and `unknown_score`.

    Args:
      parts: of a classifier from `build_classifier`, built outside any strategy.
      images: of all signatures but `evaluate`.
      parse: one example to (what `parts.pool` takes, label id).
      fitted: what goes with the weights.
      info: stored as assets.
      directory: where to; local or remote.
    """
    module = tf.Module()
    module.weights = parts.classifier.weights
    known = fitted.known.as_variables()
    module.known = list(vars(known).values())
    probes = {
        name: (tf.Variable(probe.kernel, trainable=False), tf.Variable(probe.bias, trainable=False))
        for name, probe in fitted.probes.items()
    }
    module.probes = list(probes.values())
    names = tf.constant(list(info.labels))
    classes = len(info.labels)
    files = tf.TensorSpec([None], tf.string, name="image_bytes")

    def decode(chunk: tf.Tensor) -> tf.Tensor:
        return decode_batch(chunk, images.size_px, images.max_pixels, images.reading, images.webp)

    # Nothing here is for autograph to rewrite; without it tracing takes half the time.
    @tf.function(
        input_signature=[tf.TensorSpec([None, images.size_px, images.size_px, 3], tf.uint8)],
        autograph=False,
    )
    def predict(pixels: tf.Tensor) -> Tensors:
        return _predict(parts, known, parts.pool_images(pixels, training=False))

    def answer(prepare: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor) -> Tensors:
        answers = _in_chunks(lambda chunk: _joined(predict(prepare(chunk))), inputs, [classes + 1])
        logits, score = answers[:, :-1], answers[:, -1]
        result = tf.nn.softmax(logits)
        label_id = tf.argmax(result, axis=-1)
        return {
            PROBABILITIES: result,
            "label_id": label_id,
            "class_name": tf.gather(names, label_id),
            "class_names": tf.broadcast_to(names, tf.shape(result)),
            CALIBRATED_PROBABILITIES: tf.nn.softmax(logits / fitted.record.temperature),
            UNKNOWN_SCORE: score,
            IS_KNOWN: score <= known.threshold,
        }

    @tf.function(input_signature=[files], autograph=False)
    def serve(image_bytes: tf.Tensor) -> Tensors:
        return answer(decode, image_bytes)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name=PIXELS)],
        autograph=False,
    )
    def serve_pixels(pixels: tf.Tensor) -> Tensors:
        return answer(lambda chunk: resize_batch(chunk, images.size_px, images.reading), pixels)

    def evaluate_chunk(chunk: tf.Tensor) -> tf.Tensor:
        inputs = _parse_inputs(parts, parse, chunk)
        pooled = parts.pool(inputs, training=False)
        answers = [_joined(_predict(parts, known, pooled))]
        for name, (kernel, bias) in probes.items():
            vectors = pooled if name == REFERENCE_TOP else tf.reduce_mean(inputs, axis=[1, 2])
            answers.append(tf.linalg.matmul(vectors, kernel) + bias)
        return tf.concat(answers, axis=1)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False
    )
    def evaluate(examples: tf.Tensor) -> Tensors:
        width = classes + 1 + classes * len(probes)
        answers = _in_chunks(evaluate_chunk, examples, [width])
        logits, score, *references = tf.split(
            answers, [classes, 1, *[classes] * len(probes)], axis=1
        )
        return {
            PROBABILITIES: tf.nn.softmax(logits),
            LOGITS: logits,
            UNKNOWN_SCORE: score[:, 0],
            **dict(zip(probes, references, strict=True)),
        }

    @tf.function(
        input_signature=[files, tf.TensorSpec([None], tf.int64, name="label_id")],
        autograph=False,
    )
    def explain(image_bytes: tf.Tensor, label_id: tf.Tensor) -> Tensors:
        shape = parts.above.input_shape[1:3]
        maps = _in_chunks(
            lambda chunk, ids: heat_maps(parts, decode(chunk), ids), image_bytes, shape, label_id
        )
        return {HEAT_MAP: maps}

    module.serve, module.serve_pixels, module.predict = serve, serve_pixels, predict
    module.evaluate, module.explain = evaluate, explain
    with tempfile.TemporaryDirectory(prefix="thaw-assets-") as folder:
        written = _write_assets(info, images, fitted, folder)
        module.assets = [tf.saved_model.Asset(path) for path in written]
        tf.saved_model.save(
            module,
            directory,
            signatures={
                SERVING_SIGNATURE: module.serve,
                PIXELS_SIGNATURE: module.serve_pixels,
                EVALUATION_SIGNATURE: module.evaluate,
                EXPLANATION_SIGNATURE: module.explain,
            },
        )


def _predict(parts: ClassifierParts, known: KnownImages, pooled: tf.Tensor) -> Tensors:
    logits = parts.head(pooled, training=False)
    return {LOGITS: logits, UNKNOWN_SCORE: known.score(pooled, logits)}


def _joined(predicted: Tensors) -> tf.Tensor:
    """Float32 [n, classes + 1]: logits, and the score of what is not known."""
    return tf.concat([predicted[LOGITS], predicted[UNKNOWN_SCORE][:, tf.newaxis]], axis=1)


def _parse_inputs(parts: ClassifierParts, parse: Parse, examples: tf.Tensor) -> tf.Tensor:
    (given,) = parts.pool.inputs
    return tf.map_fn(
        lambda one: parse(one)[0],
        examples,
        fn_output_signature=tf.TensorSpec(given.shape[1:], given.dtype),
    )


def _in_chunks(
    function: Callable[..., tf.Tensor],
    inputs: tf.Tensor,
    shape: Sequence[int],
    *others: tf.Tensor,
) -> tf.Tensor:
    """Applies `function` to at most `_CHUNK` inputs at a time: float32 [n, *shape]."""
    size = tf.shape(inputs)[0]
    count = (size + _CHUNK - 1) // _CHUNK
    results = tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=[None, *shape])

    def step(index: tf.Tensor, done: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        rows = slice(index * _CHUNK, (index + 1) * _CHUNK)
        return index + 1, done.write(index, function(*(one[rows] for one in (inputs, *others))))

    _, results = tf.while_loop(
        lambda index, _: index < count, step, [0, results], parallel_iterations=1
    )
    return tf.ensure_shape(results.concat(), [None, *shape])


def _write_assets(info: ExportInfo, images: ServedImages, fitted: Fitted, folder: str) -> list[str]:
    served = ServedModel(images, images.lowest_tensorflow)
    texts = {
        LABELS_FILE: "".join(f"{name}\n" for name in info.labels),
        CONFIG_FILE: json.dumps(info.config, indent=2, sort_keys=True),
        DATA_FILE: json.dumps(info.data, indent=2, sort_keys=True),
        SERVED_FILE: json.dumps(to_json(served), indent=2, sort_keys=True),
        CALIBRATION_FILE: json.dumps(to_json(fitted.record), indent=2, sort_keys=True),
    }
    paths = [os.path.join(folder, name) for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return paths
