"""Compares what an exported model says through the server with how it was evaluated."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.serving_check import front_door
from components.serving_check.agreement import Agreement, write_agreement
from serving.server.process import ServerProcess, start_server
from serving.server.vertex import fetched
from trainer import keys
from trainer.blessings import BASELINE_AGREES
from trainer.data.examples import bytes_of, read_examples
from trainer.errors import ThawError
from trainer.export import EVALUATION_SIGNATURE, PROBABILITIES
from trainer.store.uris import is_remote

MODEL = "model"
BASELINE_MODEL = "baseline_model"
IMAGES = "images"
EXAMPLES = "examples"
BLESSING = "blessing"
TOLERANCE = "tolerance"
NUM_IMAGES = "num_images"


class Executor(base_executor.BaseExecutor):
    """Blesses a model that answers through the server as it was evaluated."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpacks TFX's arguments; see `check`. Writes the result beside the blessing."""
        self._log_startup(input_dict, output_dict, exec_properties)
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])

        with ExitStack() as stack:
            # They start while the images are read.
            candidates = {
                name: stack.enter_context(
                    start_candidate(artifact_utils.get_single_uri(input_dict[name]))
                )
                for name in (MODEL, BASELINE_MODEL)
                if input_dict.get(name)
            }
            images = read_test_images(
                artifact_utils.get_single_uri(input_dict[IMAGES]),
                artifact_utils.get_single_uri(input_dict[EXAMPLES]),
                exec_properties[NUM_IMAGES],
            )
            agreements = {
                name: ask(candidate, images, exec_properties[TOLERANCE])
                for name, candidate in candidates.items()
            }
        agreement = agreements[MODEL]
        write_agreement(agreement, blessing.uri)
        if BASELINE_MODEL in agreements:
            agrees = agreements[BASELINE_MODEL].agrees
            blessing.set_int_custom_property(BASELINE_AGREES, int(agrees))
        # What TFX's Pusher asks an InfraBlessing for.
        blessing.set_int_custom_property("blessed", int(agreement.agrees))


@dataclass(frozen=True)
class Candidate:
    """A model whose server is starting.

    Attributes:
      saved_model_dir: on this machine.
      server: that answers for it.
    """

    saved_model_dir: str
    server: ServerProcess


@contextmanager
def start_candidate(model_uri: str) -> Iterator[Candidate]:
    """Starts the server of a model artifact; it ends with the block."""
    saved_model_dir = path_utils.serving_model_path(model_uri)
    with ExitStack() as stack:
        if is_remote(saved_model_dir):
            saved_model_dir = stack.enter_context(fetched(saved_model_dir))
        server = stack.enter_context(start_server(Path(saved_model_dir), front_door.NAME))
        yield Candidate(saved_model_dir, server)


@dataclass(frozen=True)
class CheckedImage:
    """A test image, as a file and as the Evaluator's serialized example."""

    file: bytes
    example: bytes


def read_test_images(images_uri: str, examples_uri: str, num_images: int) -> list[CheckedImage]:
    """Reads the first test images, ordered by their ids.

    Args:
      images_uri: examples that hold the files' bytes.
      examples_uri: examples that the Evaluator read.
      num_images: how many images at most.

    Raises:
      ThawError: if there are no test images, or the two sets of examples do not match.
    """
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


def ask(candidate: Candidate, images: Sequence[CheckedImage], tolerance: float) -> Agreement:
    """Asks a model about images as its clients do and as the Evaluator did; compares the answers.

    Args:
      candidate: the model, and its server.
      images: as files and as examples.
      tolerance: largest difference of a probability that is let pass.

    Returns:
      The worse agreement of those over HTTP and over gRPC.

    Raises:
      ThawError: if the server does not start or fails, or does not accept and refuse what it
        should.
    """
    # While the server starts.
    model = tf.saved_model.load(candidate.saved_model_dir)
    judged = model.signatures[EVALUATION_SIGNATURE](
        examples=tf.constant([one.example for one in images])
    )[PROBABILITIES].numpy()
    with front_door.opened(candidate.server) as door:
        files = [one.file for one in images]
        answers = front_door.ask_both(door, files)
        front_door.check_formats(door, files[0], tolerance)
        front_door.check_refusals(door, files[0])
    agreements = [compare(served, judged, tolerance) for served in answers]
    return min(agreements, key=lambda one: one.agrees)


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
