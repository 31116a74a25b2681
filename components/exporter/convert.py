"""Converts an exported model: resized pixels in, probabilities out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from components.exporter.formats import INT8
from trainer.calibration.record import read_calibration
from trainer.errors import ThawError
from trainer.export import CALIBRATED_PROBABILITIES, LOGITS, PIXELS, PROBABILITIES
from trainer.process.quiet import quiet_stderr

ONNX_OPSET = 17


@dataclass(frozen=True)
class Source:
    """A SavedModel, as formats are converted from it.

    Attributes:
      loaded: what TensorFlow has loaded.
      classify: uint8 [n, size, size, 3] to `probabilities` and `calibrated_probabilities`,
        float32 [n, classes].
    """

    loaded: Any
    classify: Any


def load_source(saved_model_dir: str) -> Source:
    """Loads what `trainer.export` has written.

    Raises:
      ThawError: if an earlier version of Thaw has written it.
    """
    loaded = tf.saved_model.load(saved_model_dir)
    if not hasattr(loaded, "predict"):
        raise ThawError(
            "an earlier version of Thaw exported this model: it cannot be converted.",
            where=saved_model_dir,
            to_do="Delete the folder, and run the same command again: the model is made again.",
        )
    temperature = read_calibration(saved_model_dir).temperature
    (spec,) = loaded.predict.input_signature

    @tf.function(input_signature=[tf.TensorSpec(spec.shape, spec.dtype, PIXELS)], autograph=False)
    def classify(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = loaded.predict(pixels)[LOGITS]
        return {
            PROBABILITIES: tf.nn.softmax(logits),
            CALIBRATED_PROBABILITIES: tf.nn.softmax(logits / temperature),
        }

    return Source(loaded, classify)


def convert(source: Source, format_name: str, images: Sequence[np.ndarray], path: str) -> None:
    """Writes a model file that takes `pixels`, uint8 [n, size, size, 3], whatever the format.

    Its outputs are `probabilities` and `calibrated_probabilities`, [n, classes]: float32, of
    `tflite_int8` uint8, in steps of 1/256.

    Args:
      source: the model.
      format_name: key of `FORMATS`.
      images: uint8 [size, size, 3], of the training split; what `tflite_int8` chooses the ranges
        of its numbers by.
      path: where to; local.
    """
    with quiet_stderr():
        if format_name == "onnx":
            _write_onnx(source, path)
            return
        converter = _CONVERTERS[format_name](source, images)
        with open(path, "wb") as file:
            file.write(converter.convert())


def _write_onnx(source: Source, path: str) -> None:
    import tf2onnx

    signature = source.classify.input_signature
    tf2onnx.convert.from_function(
        source.classify, input_signature=signature, opset=ONNX_OPSET, output_path=path
    )


def _float32(source: Source, _: Sequence[np.ndarray]) -> Any:
    function = source.classify.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([function], source.loaded)


def _float16(source: Source, images: Sequence[np.ndarray]) -> Any:
    """Weights in float16; what has no arithmetic for them computes in float32."""
    converter = _float32(source, images)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return converter


def _int8(source: Source, images: Sequence[np.ndarray]) -> Any:
    """Integers throughout."""
    function = _taking_floats(source.classify.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], source.loaded)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one] for one in _over_all_levels(images))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    return converter


_CONVERTERS: dict[str, Callable[[Source, Sequence[np.ndarray]], Any]] = {
    "tflite": _float32,
    "tflite_float16": _float16,
    INT8: _int8,
}


def _taking_floats(function: Any) -> Any:
    """The same function of float32 pixels: a converter cannot quantize the cast from uint8."""
    frozen = convert_variables_to_constants_v2(function)
    graph_def = frozen.graph.as_graph_def()
    (cast,) = (
        node.name
        for node in graph_def.node
        if node.op == "Cast" and node.attr["SrcT"].type == tf.uint8.as_datatype_enum
    )
    names = dict(zip(sorted(function.structured_outputs), frozen.outputs, strict=True))

    def run(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        tensors = [one.name for one in names.values()]
        outputs = tf.graph_util.import_graph_def(graph_def, {f"{cast}:0": pixels}, tensors)
        return dict(zip(names, outputs, strict=True))

    spec = tf.TensorSpec(frozen.inputs[0].shape, tf.float32, PIXELS)
    return tf.function(run, input_signature=[spec], autograph=False).get_concrete_function()


def _over_all_levels(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The images as float32 [1, size, size, 3], with one black and one white value.

    By these two the input is quantized with scale 1 and zero 0: as the pixels themselves.
    """
    batch = [one[np.newaxis].astype(np.float32) for one in images]
    batch[0].flat[:2] = 0, 255
    return batch
