"""Classifies image files: python classify.py model.tflite photo.jpg …

Needs numpy and Pillow, and ai-edge-litert for .tflite or onnxruntime for .onnx.
"""

import os
import sys
from collections.abc import Callable

import numpy as np

Model = Callable[[np.ndarray], dict[str, np.ndarray]]


def open_model(path: str) -> Model:
    """Loads a model: uint8 [1, size, size, 3] to named float32 [1, classes]."""
    return _open_onnx(path) if path.endswith(".onnx") else _open_tflite(path)


def _open_onnx(path: str) -> Model:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda pixels: dict(zip(names, session.run(names, {"pixels": pixels}), strict=True))


def _open_tflite(path: str) -> Model:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(path, num_threads=os.cpu_count()).get_signature_runner()
    # A full-integer model gives uint8: a number is (value - zero) * scale; scale is 1/256.
    stored = {name: one["quantization"] for name, one in run.get_output_details().items()}

    def as_float(values: np.ndarray, scale: float, zero: int) -> np.ndarray:
        return (values.astype(np.float32) - zero) * np.float32(scale) if scale else values

    return lambda pixels: {
        name: as_float(values, *stored[name]) for name, values in run(pixels=pixels).items()
    }


def main(model_path: str, *image_paths: str) -> None:
    """Prints the three most probable classes of each image."""
    from preprocess import read_image  # the file beside this one

    with open(os.path.join(os.path.dirname(model_path), "labels.txt"), encoding="utf-8") as file:
        labels = file.read().splitlines()
    model = open_model(model_path)
    for path in image_paths:
        (probabilities,) = model(read_image(path))["probabilities"]
        best = np.argsort(-probabilities, kind="stable")[:3]
        print(path, *(f"{labels[one]} {probabilities[one]:.1%}" for one in best), sep="\t")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
