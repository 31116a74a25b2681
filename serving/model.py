"""A pushed model on this machine: checks it, loads it and asks it.

Whatever stands in a model's folder, the user gets an answer or a sentence: loading what is
damaged raises anything from `OSError` to `IndexError` in TensorFlow.
"""

import functools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.reasons import reason_of
from serving.versions import UnusableModel
from trainer.data.regular_files import (
    DEFAULT_MAX_FILE_BYTES,
    LARGEST_MAX_FILE_BYTES,
    read_regular_file,
)
from trainer.errors import ThawError
from trainer.process.quiet import quiet_stderr
from trainer.specs import AS_IN_THE_RECIPE, SERVED_FILE, ServedImages, ServedModel, from_json

_ADVICE = "Give another version with --model, or push this one again."

# Type and rank; see `trainer.export`.
_INPUTS = {"image_bytes": ("string", 1)}
_OUTPUTS = {"class_names": ("string", 2), "probabilities": ("float32", 2)}

# What models of versions that wrote no record of how they read files decode.
_NO_OLD_IMAGE = "not a JPEG, PNG, GIF or BMP file"
_DAMAGED = "the image data is damaged"

# Of one batch: 64 images of 224 px were as fast as 128, and take about 1 GB while they pass.
_BATCH_PIXELS = 64 * 224**2
_SMALLEST_BATCH, _LARGEST_BATCH = 8, 128
# A GPU waits for the next batch, and needs larger ones to be busy.
_TIMES_ON_GPU = 4


class ImageRefused(ThawError):
    """The model gives no answer for one file. The message is the reason."""


@dataclass(frozen=True)
class Answer:
    """What a model says of one file.

    Attributes:
      classes: class name and probability, the most probable first.
      is_known: whether the image is like the training images; None if the model does not say.
      calibrated: calibrated probability of the first class; None if the model does not say.
      unknown_score: the higher, the less like the training images; None likewise.
    """

    classes: list[tuple[str, float]]
    is_known: bool | None = None
    calibrated: float | None = None
    unknown_score: float | None = None


@dataclass(frozen=True)
class FileRules:
    """How a model reads files. Light: a Beam worker that only reads has it without the model.

    Attributes:
      max_file_bytes: larger files are refused; the limit that the model's own images had.
      max_pixels: likewise for what a file's header claims; None if the model does not say.
      images: how the model reads files; None if an earlier version of Thaw exported it.
    """

    max_file_bytes: int
    max_pixels: int | None = None
    images: ServedImages | None = None

    def decodable(self, content: bytes) -> bytes:
        """The file, re-encoded as ingestion re-encodes it if the model does not decode it as
        people see it.

        Raises:
          ImageRefused: if it cannot be read.
        """
        if self.images:
            return decodable(content, self.images)
        _check_header(content, self.max_pixels)
        return content


@dataclass(frozen=True, kw_only=True)
class PushedModel(FileRules):
    """A loaded model, and how it reads files.

    Attributes:
      serve: its serving signature: string [n] `image_bytes` to named tensors.
      explain: its signature for heat maps; None if an earlier version of Thaw exported it.
    """

    serve: Callable[..., dict[str, Any]]
    explain: Callable[..., dict[str, Any]] | None = None

    @property
    def rules(self) -> FileRules:
        """How it reads files, without the model."""
        return FileRules(self.max_file_bytes, self.max_pixels, self.images)

    def batch_size(self) -> int:
        """How many images this machine takes at once without waste."""
        import tensorflow as tf

        size_px = self.images.size_px if self.images else 224
        pixels = _BATCH_PIXELS * (_TIMES_ON_GPU if tf.config.list_physical_devices("GPU") else 1)
        return min(max(_SMALLEST_BATCH, pixels // size_px**2), _LARGEST_BATCH)

    def class_names(self) -> list[str]:
        """Names of all classes, sorted: the model is asked about a small black picture.

        Raises:
          ImageRefused: if it fails on that.
        """
        import tensorflow as tf

        picture = tf.io.encode_png(tf.zeros([8, 8, 3], tf.uint8)).numpy()
        return sorted(name for name, _ in self.ask(picture).classes)

    def ask(self, content: bytes) -> Answer:
        """Asks about one file.

        Raises:
          ImageRefused: if the file cannot be read, or the model fails on it.
        """
        answer = self.ask_batch([self.decodable(content)])[0]
        if isinstance(answer, ImageRefused):
            raise answer
        return answer

    def ask_batch(
        self, contents: Sequence[bytes], top: int | None = None
    ) -> list[Answer | ImageRefused]:
        """Asks about several files at once; one that the model fails on costs no other its answer.

        Args:
          contents: what `decodable` has made of the files.
          top: number of classes in an answer; None: all.

        Returns:
          For each file the answer, or why there is none.
        """
        import tensorflow as tf

        if not contents:
            return []
        try:
            with quiet_stderr():
                tensors = self.serve(image_bytes=tf.constant(contents))
            return _answers({name: one.numpy() for name, one in tensors.items()}, top)
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError):
            refused = ImageRefused(_DAMAGED)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            refused = ImageRefused(f"the model fails: {reason_of(error)}")
        if len(contents) == 1:
            return [refused]
        half = len(contents) // 2
        return self.ask_batch(contents[:half], top) + self.ask_batch(contents[half:], top)


def _answers(arrays: Mapping[str, np.ndarray], top: int | None) -> list[Answer | ImageRefused]:
    """The rows of the signature's outputs."""
    return [
        _answer({name: array[row] for name, array in arrays.items()}, top)
        for row in range(len(arrays["probabilities"]))
    ]


def _answer(row: Mapping[str, np.ndarray], top: int | None) -> Answer | ImageRefused:
    probabilities = row["probabilities"]
    pairs = list(zip(row["class_names"], probabilities.tolist(), strict=True))
    if not np.isfinite(probabilities).all():
        return ImageRefused("the model's probabilities are not numbers")
    best = np.argsort(-probabilities, kind="stable")[:top]
    known, calibrated = row.get("is_known"), row.get("calibrated_probabilities")
    return Answer(
        classes=[(pairs[one][0].decode(errors="replace"), pairs[one][1]) for one in best],
        is_known=None if known is None else bool(known),
        calibrated=None if calibrated is None else _finite(calibrated[best[0]]),
        unknown_score=_finite(row["unknown_score"]) if "unknown_score" in row else None,
    )


def _finite(value: np.ndarray) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def decodable(content: bytes, images: ServedImages) -> bytes:
    """The file, or what it is re-encoded to.

    Raises:
      ImageRefused: with the reason.
    """
    from trainer.data.transcode import UnreadableImage, make_decodable

    try:
        return make_decodable(content, images.max_pixels, images.reading, images.webp).content
    except UnreadableImage as error:
        raise ImageRefused(str(error)) from error


def _check_header(content: bytes, max_pixels: int | None) -> None:
    """Refuses by its header what the model itself would refuse, with a sentence of our own.

    Raises:
      ImageRefused: with the reason.
    """
    import tensorflow as tf

    from trainer.data.facts import NO_IMAGE

    try:
        with quiet_stderr():
            size, problem = _header()(tf.constant(content))
    except tf.errors.OpError as error:
        raise ImageRefused(_DAMAGED) from error
    num_pixels = math.prod(size.numpy().tolist())
    if problem == NO_IMAGE:
        raise ImageRefused(_NO_OLD_IMAGE)
    if not num_pixels:
        raise ImageRefused(_DAMAGED)
    if max_pixels is not None and num_pixels > max_pixels:
        raise ImageRefused(f"more than {max_pixels} pixels")


@functools.cache
def _header() -> Callable[..., Any]:
    """What reads a header, the very function that exported models ask, as a graph.

    One operation after another, a GIF of many small blocks would take seconds.
    """
    from trainer.data.decoding import read_facts
    from trainer.data.rare import of_bytes

    def read(content: Any) -> tuple[Any, Any]:
        facts = read_facts(content, AS_IN_THE_RECIPE, webp=False)
        return facts.size, facts.problem

    return of_bytes(read)


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
                to_do=f"{_ADVICE}\nTensorFlow says: {reason_of(error)}",
            ) from error
    signatures = getattr(loaded, "signatures", {})
    signature = _serving_signature(model_dir, signatures)
    limits = _limits(model_dir)
    max_file_bytes = limits.get("max_file_bytes", DEFAULT_MAX_FILE_BYTES)
    if max_file_bytes > LARGEST_MAX_FILE_BYTES:
        max_file_bytes = DEFAULT_MAX_FILE_BYTES
    return PushedModel(
        serve=signature,
        max_file_bytes=max_file_bytes,
        max_pixels=limits.get("max_pixels"),
        images=served_images(model_dir),
        explain=signatures.get("explain"),
    )


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
    if signature and classifies_images(
        signature.structured_input_signature[1], signature.structured_outputs
    ):
        return signature
    raise UnusableModel(
        "not a model that Thaw exported: it has no `serving_default` from `image_bytes` to "
        "`class_names` and `probabilities`.",
        where=str(model_dir),
        to_do="Give the folder of a run, or of a model that a run pushed.",
    )


def classifies_images(inputs: object, outputs: object) -> bool:
    """Whether a signature is the one that `trainer.export` writes, of this version or an earlier.

    Args:
      inputs: name -> `tf.TensorSpec`.
      outputs: likewise.
    """
    return _types(inputs) == _INPUTS and _OUTPUTS.items() <= _types(outputs).items()


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


def served_images(model_dir: Path) -> ServedImages | None:
    """The model's own record of how it reads files; None if it has none.

    Raises:
      UnusableModel: if it has one that cannot be read.
    """
    path = model_dir / "assets" / SERVED_FILE
    if not path.exists():
        return None
    try:
        return from_json(ServedModel, json.loads(read_regular_file(str(path), 2**20))).images
    except (OSError, ValueError, ThawError, RecursionError) as error:
        raise UnusableModel(
            "the record of how the model reads files is damaged.",
            where=str(path),
            to_do=f"{_ADVICE}\n{reason_of(error)}",
        ) from error
