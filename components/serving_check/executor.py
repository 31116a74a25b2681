"""Compares the two ways into an exported model."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.serving_check.agreement import Agreement, write_agreement
from trainer import keys
from trainer.blessings import BASELINE_AGREES
from trainer.data.examples import bytes_of, read_examples
from trainer.errors import ThawError
from trainer.export import EVALUATION_SIGNATURE, PROBABILITIES, SERVING_SIGNATURE

MODEL = "model"
BASELINE_MODEL = "baseline_model"
IMAGES = "images"
EXAMPLES = "examples"
BLESSING = "blessing"
TOLERANCE = "tolerance"
NUM_IMAGES = "num_images"


class Executor(base_executor.BaseExecutor):
    """Blesses a model whose two signatures agree."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpacks TFX's arguments; see `check`. Writes the result beside the blessing."""
        self._log_startup(input_dict, output_dict, exec_properties)
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])

        images = read_test_images(
            artifact_utils.get_single_uri(input_dict[IMAGES]),
            artifact_utils.get_single_uri(input_dict[EXAMPLES]),
            exec_properties[NUM_IMAGES],
        )

        def ask_model(name: str) -> Agreement:
            model_uri = artifact_utils.get_single_uri(input_dict[name])
            saved_model_dir = path_utils.serving_model_path(model_uri)
            return ask(saved_model_dir, images, exec_properties[TOLERANCE])

        agreement = ask_model(MODEL)
        write_agreement(agreement, blessing.uri)
        if input_dict.get(BASELINE_MODEL):
            agrees = ask_model(BASELINE_MODEL).agrees
            blessing.set_int_custom_property(BASELINE_AGREES, int(agrees))
        # What TFX's Pusher asks an InfraBlessing for.
        blessing.set_int_custom_property("blessed", int(agreement.agrees))


def check(
    saved_model_dir: str, images_uri: str, examples_uri: str, tolerance: float, num_images: int
) -> Agreement:
    """Asks a model about the first test images, as files and as the Evaluator's examples.

    Args:
      saved_model_dir: an exported model.
      images_uri: examples that hold the files' bytes.
      examples_uri: examples that the Evaluator read.
      tolerance: largest difference of a probability that is let pass.
      num_images: how many images at most.

    Raises:
      ThawError: if there are no test images, or the two sets of examples do not match.
    """
    return ask(saved_model_dir, read_test_images(images_uri, examples_uri, num_images), tolerance)


@dataclass(frozen=True)
class CheckedImage:
    """A test image, as a file and as the Evaluator's serialized example."""

    file: bytes
    example: bytes


def read_test_images(images_uri: str, examples_uri: str, num_images: int) -> list[CheckedImage]:
    """Reads the first test images, ordered by their ids; arguments and errors as for `check`."""
    evaluated = {
        bytes_of(example, keys.ID): example
        for example in itertools.islice(read_examples(examples_uri, keys.TEST), num_images)
    }
    files = {}
    for example in read_examples(images_uri, keys.TEST):
        if (identity := bytes_of(example, keys.ID)) in evaluated:
            files[identity] = bytes_of(example, keys.IMAGE_BYTES)
        if len(files) == len(evaluated):
            break
    if not evaluated:
        raise ThawError(
            "holds no test images.",
            where=examples_uri,
            to_do="Raise data.splits.test, or add images.",
        )
    if files.keys() != evaluated.keys():
        raise ThawError(
            f"holds test images that {images_uri} does not.",
            where=examples_uri,
            to_do="Delete both folders, and run the same command again.",
        )
    return [
        CheckedImage(files[identity], evaluated[identity].SerializeToString())
        for identity in sorted(files)
    ]


def ask(saved_model_dir: str, images: Sequence[CheckedImage], tolerance: float) -> Agreement:
    """Asks a model about images in both ways, and compares the answers."""
    model = tf.saved_model.load(saved_model_dir)
    served = model.signatures[SERVING_SIGNATURE](
        image_bytes=tf.constant([one.file for one in images])
    )
    judged = model.signatures[EVALUATION_SIGNATURE](
        examples=tf.constant([one.example for one in images])
    )
    return compare(served[PROBABILITIES].numpy(), judged[PROBABILITIES].numpy(), tolerance)


def compare(served: np.ndarray, judged: np.ndarray, tolerance: float) -> Agreement:
    """Compares float32 [images, classes] probabilities.

    A model that has diverged gives no numbers either way: that agrees, and is the gate's
    business.
    """
    neither = np.isnan(served) & np.isnan(judged)
    largest = float(np.max(np.abs(np.where(neither, 0, served - judged))))
    return Agreement(
        num_images=len(served),
        max_difference=largest if np.isfinite(largest) else None,
        tolerance=tolerance,
        agrees=bool(largest <= tolerance),
    )
