"""A pushed model on this machine: checks it, loads it and asks it.

Whatever stands in a model's folder, the user gets an answer or a sentence: loading what is
damaged raises anything from `OSError` to `IndexError` in TensorFlow.
"""

import functools
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.versions import UnusableModel
from trainer.data.regular_files import (
    DEFAULT_MAX_FILE_BYTES,
    LARGEST_MAX_FILE_BYTES,
    read_regular_file,
)
from trainer.errors import ThawError
from trainer.process.quiet import quiet_stderr

_ADVICE = "Give another version with --model, or push this one again."

# Type and rank; see `trainer.export`.
_INPUTS = {"image_bytes": ("string", 1)}
_OUTPUTS = {"class_names": ("string", 2), "probabilities": ("float32", 2)}

NO_IMAGE = "not a JPEG, PNG, GIF or BMP file"
DAMAGED = "the image data is damaged"


class ImageRefused(ThawError):
    """The model gives no answer for one file. The message is the reason."""


@dataclass(frozen=True)
class PushedModel:
    """A loaded model.

    Attributes:
      serve: its serving signature: string [n] `image_bytes` to named tensors.
      max_file_bytes: larger files are refused; the limit that its own images had.
      max_pixels: likewise for what a file's header claims; None if the model does not say.
    """

    serve: Callable[..., dict[str, Any]]
    max_file_bytes: int
    max_pixels: int | None = None

    def ask(self, content: bytes) -> list[tuple[str, float]]:
        """Returns (class name, probability) for one file, most probable first.

        Raises:
          ImageRefused: if the model does not decode the file, or fails on it.
        """
        import tensorflow as tf

        _check_header(content, self.max_pixels)
        try:
            with quiet_stderr():
                answer = self.serve(image_bytes=tf.constant([content]))
            names = [name.decode(errors="replace") for name in answer["class_names"][0].numpy()]
            probabilities = answer["probabilities"][0].numpy().tolist()
            pairs = list(zip(names, probabilities, strict=True))
        except tf.errors.InvalidArgumentError as error:
            raise ImageRefused(DAMAGED) from error
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise ImageRefused(f"the model fails: {_first_line(error)}") from error
        if not all(map(math.isfinite, probabilities)):
            raise ImageRefused("the model's probabilities are not numbers")
        return sorted(pairs, key=lambda pair: -pair[1])


def _check_header(content: bytes, max_pixels: int | None) -> None:
    """Refuses by its header what the model itself would refuse, with a sentence of our own.

    Raises:
      ImageRefused: with the reason.
    """
    import tensorflow as tf

    try:
        with quiet_stderr():
            height, width = _header_size()(tf.constant(content)).numpy().tolist()
    except tf.errors.InvalidArgumentError as error:
        raise ImageRefused(DAMAGED) from error
    if not height * width:
        raise ImageRefused(NO_IMAGE)
    if max_pixels is not None and height * width > max_pixels:
        raise ImageRefused(f"more than {max_pixels} pixels")


@functools.cache
def _header_size() -> Callable[..., Any]:
    """What reads a header, the very function that exported models ask, as a graph.

    One operation after another, a GIF of many small blocks would take seconds.
    """
    import tensorflow as tf

    from trainer.data.images import header_size

    return tf.function(header_size, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def load_model(model_dir: Path) -> PushedModel:
    """Loads a SavedModel written by a run.

    Raises:
      UnusableModel: if it is damaged or incomplete, or Thaw did not export it.
    """
    _check_files(model_dir)
    with quiet_stderr():
        try:
            import tensorflow as tf
        except OSError as error:  # it asks for a temporary folder
            raise UnusableModel(
                f"TensorFlow does not start: {error}.",
                to_do="Set TMPDIR to a folder that can be written.",
            ) from error
        try:
            loaded = tf.saved_model.load(str(model_dir))
        except Exception as error:  # of any kind; see above
            raise UnusableModel(
                "the model cannot be loaded; it is damaged or incomplete.",
                where=str(model_dir),
                to_do=f"{_ADVICE}\nTensorFlow says: {_first_line(error)}",
            ) from error
    signature = _serving_signature(model_dir, getattr(loaded, "signatures", {}))
    limits = _limits(model_dir)
    max_file_bytes = limits.get("max_file_bytes", DEFAULT_MAX_FILE_BYTES)
    if max_file_bytes > LARGEST_MAX_FILE_BYTES:
        max_file_bytes = DEFAULT_MAX_FILE_BYTES
    return PushedModel(signature, max_file_bytes, limits.get("max_pixels"))


def _check_files(model_dir: Path) -> None:
    """Refuses what would block TensorFlow, such as a named pipe."""
    for folder, _, names in os.walk(model_dir):
        for path in (os.path.join(folder, name) for name in names):
            if not os.path.isfile(path):
                raise UnusableModel(
                    "not a regular file, so the model cannot be loaded.",
                    where=path,
                    to_do=_ADVICE,
                )


def _serving_signature(
    model_dir: Path, signatures: Mapping[str, Any]
) -> Callable[..., dict[str, Any]]:
    """Checks that a SavedModel's signature is the one that `trainer.export` writes."""
    signature = signatures.get("serving_default")
    if signature:
        inputs = _types(signature.structured_input_signature[1])
        outputs = _types(signature.structured_outputs)
        if inputs == _INPUTS and _OUTPUTS.items() <= outputs.items():
            return signature
    raise UnusableModel(
        "not a model that Thaw exported: it has no `serving_default` from `image_bytes` to "
        "`class_names` and `probabilities`.",
        where=str(model_dir),
        to_do="Give the folder of a run, or of a model that a run pushed.",
    )


def _types(specs: object) -> dict[str, tuple[str, int | None]]:
    """The type and rank of each named tensor."""
    import tensorflow as tf

    named = specs if isinstance(specs, Mapping) else {}
    return {
        name: (spec.dtype.name, spec.shape.rank)
        for name, spec in named.items()
        if isinstance(spec, tf.TensorSpec)
    }


def _limits(model_dir: Path) -> dict[str, int]:
    """The numbers of the model's own `data` section; none if its config does not say."""
    try:
        config = json.loads(read_regular_file(str(model_dir / "assets" / "config.json"), 2**20))
        data = dict(config["data"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    return {name: value for name, value in data.items() if type(value) is int and value > 0}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
