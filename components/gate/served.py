"""The model that is served now, and its answers to the same test images."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from tfx.utils import io_utils

from serving.batch_predict import ImageFile, predict
from serving.model import PushedModel, load_model
from serving.versions import newest_remote_version, newest_version
from trainer import keys, records
from trainer.data.card import read_card
from trainer.data.examples import bytes_of, read_examples
from trainer.errors import ThawError
from trainer.process import progress
from trainer.records import Record
from trainer.store.uris import is_remote

ANSWERS_FILE = "served.jsonl"


@dataclass(frozen=True)
class ServedAnswer(Record):
    """What the served model said of one test image.

    Attributes:
      id: of the image, as in the predictions.
      class_name: its first choice; empty if it cannot read the image.
      probability: of that.
    """

    id: str
    class_name: str
    probability: float


@dataclass(frozen=True)
class Served:
    """A served model's answers.

    Attributes:
      version: of the model: the name of its folder.
      answers: id of a test image -> its answer.
    """

    version: str
    answers: Mapping[str, ServedAnswer]


def ask_served(serving_dir: str, images_uri: str) -> Served | None:
    """Asks the newest version in a folder of pushed models about all test images.

    Args:
      serving_dir: folder of numbered versions, local or in a store; it need not exist.
      images_uri: examples of ImageExampleGen: the files' bytes.

    Returns:
      None if nothing is served yet.

    Raises:
      ThawError: if the newest version is damaged, or Thaw did not export it.
    """
    with tempfile.TemporaryDirectory(prefix="thaw-served-") as folder:
        version = _local_version(serving_dir, folder)
        if version is None:
            return None
        try:
            model = load_model(version)
        except ThawError as problem:
            raise ThawError(
                f"the model that is served now cannot be compared with: {problem}",
                to_do="Remove that version, or set gate.served to ignore.",
            ) from problem
        answers = {one.id: one for one in _answers(model, images_uri)}
        return Served(version.name, answers)


def _local_version(serving_dir: str, folder: str) -> Path | None:
    """The newest version, copied into a local folder if it is in a store; None: there is none."""
    if not is_remote(serving_dir):
        return newest_version(Path(serving_dir))
    address = newest_remote_version(serving_dir)
    if address is None:
        return None
    copy = os.path.join(folder, os.path.basename(address))
    io_utils.copy_dir(address, copy)
    return Path(copy)


def write_answers(served: Served, blessing_uri: str) -> None:
    """Writes a line an image beside the verdict, by the images' ids."""
    with tf.io.gfile.GFile(os.path.join(blessing_uri, ANSWERS_FILE), "w") as file:
        for identity in sorted(served.answers):
            file.write(records.dumps(served.answers[identity]) + "\n")


def _answers(model: PushedModel, images_uri: str) -> Iterator[ServedAnswer]:
    total = read_card(images_uri).num_examples(keys.TEST)
    counter = progress.Counter("test images asked of the served model", total)
    images = (
        ImageFile(bytes_of(example, keys.ID).decode(), content=bytes_of(example, keys.IMAGE_BYTES))
        for example in read_examples(images_uri, keys.TEST)
    )
    for row in predict(model, images, top=1):
        name, probability = row.classes[0] if row.classes else ("", 0.0)
        yield ServedAnswer(row.path, name, probability)
        counter.add()
