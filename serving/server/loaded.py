"""One loaded version of a model: its signatures, and how they are run."""

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from serving.model import ImageRefused, decodable, served_images
from serving.reasons import reason_of
from serving.server.refused import RequestRefused
from serving.versions import number_of
from trainer.process.quiet import quiet_stderr
from trainer.specs import ServedImages

DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
IMAGE_BYTES = "image_bytes"

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Signature:
    """A function of a model.

    Attributes:
      name: as clients name it.
      inputs: name -> dtype and shape.
      outputs: likewise.
      run: the function, of named tensors.
    """

    name: str
    inputs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, tf.TensorSpec]
    run: Callable[..., Mapping[str, tf.Tensor]]

    @property
    def is_batched(self) -> bool:
        """Whether the first dimension of every input and output is the number of rows."""
        return all(
            spec.shape.rank and spec.shape[0] is None
            for spec in (*self.inputs.values(), *self.outputs.values())
        )


@dataclass(frozen=True)
class LoadedVersion:
    """A version in memory.

    Attributes:
      number: of its folder.
      path: the folder.
      signatures: by name.
      images: how the model reads files; None if Thaw did not export it.
      loaded: what TensorFlow has loaded; the signatures live as long as it does.
    """

    number: int
    path: Path
    signatures: Mapping[str, Signature]
    images: ServedImages | None
    loaded: Any = field(default=None, repr=False)

    def signature(self, name: str) -> Signature:
        """Finds a signature.

        Raises:
          RequestRefused: naming those that there are.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            have = ", ".join(sorted(self.signatures))
            raise RequestRefused(
                400,
                f'Serving signature name: "{name}" not found in signature def. There are: {have}',
            )
        return self.signatures[name]

    def run(self, signature: Signature, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs a signature.

        Raises:
          RequestRefused: with the first line of what the model says.
        """
        try:
            tensors = {
                name: tf.constant(array, signature.inputs[name].dtype)
                for name, array in inputs.items()
            }
            with quiet_stderr():
                answer = signature.run(**tensors)
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            raise RequestRefused(400, reason_of(error)) from error
        except (ValueError, TypeError) as error:
            raise RequestRefused(400, f"The inputs do not fit: {reason_of(error)}") from error
        return {name: tensor.numpy() for name, tensor in answer.items()}


def load_version(path: Path) -> LoadedVersion:
    """Loads a SavedModel and runs its default signature once, so that requests find it warm.

    Raises:
      ValueError: if it cannot be loaded or has no signature, or if it fails on a small image.
    """
    try:
        with quiet_stderr():
            loaded = tf.saved_model.load(str(path))
        images = served_images(path)
    except Exception as error:  # damaged models raise anything from OSError to IndexError
        reason = reason_of(error).replace(str(path), path.name)
        raise ValueError(f"it cannot be loaded: {reason}") from error
    signatures = {
        name: _signature(name, function)
        for name, function in getattr(loaded, "signatures", {}).items()
    }
    if not signatures:
        raise ValueError("it has no signature.")
    version = LoadedVersion(number_of(path), path, signatures, images, loaded)
    _warm_up(version)
    return version


def _signature(name: str, function: Any) -> Signature:
    _, inputs = function.structured_input_signature
    return Signature(name, dict(inputs), dict(function.structured_outputs), function)


def _warm_up(version: LoadedVersion) -> None:
    """Runs the default signature once. A model of images must answer; others may not like zeros."""
    signature = version.signatures.get(DEFAULT_SIGNATURE)
    if signature is None:
        return
    if list(signature.inputs) == [IMAGE_BYTES]:
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32)).save(buffer, "PNG")
        content = buffer.getvalue()
        try:
            if version.images:
                content = decodable(content, version.images)
            version.run(signature, {IMAGE_BYTES: np.array([content], object)})
        except (RequestRefused, ImageRefused, tf.errors.OpError) as error:
            raise ValueError(f"it fails on a small image: {error}") from error
    elif all(spec.shape.rank is not None for spec in signature.inputs.values()):
        with contextlib.suppress(RequestRefused, tf.errors.OpError):
            version.run(signature, {name: zeros(one) for name, one in signature.inputs.items()})


def zeros(spec: tf.TensorSpec) -> np.ndarray:
    """One row of nothing, for an input whose rank is known."""
    shape = [1 if size is None else size for size in spec.shape]
    return np.full(shape, b"" if spec.dtype == tf.string else 0, spec.dtype.as_numpy_dtype)
