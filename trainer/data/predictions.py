"""Both models' answers to every test image: what the Evaluator writes once, and all others read.

evaluation/predictions/part-00000-of-00001.parquet
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import tensorflow as tf
from pyarrow import parquet

from trainer.errors import ThawError
from trainer.remote_files import write_replacing

BASELINE = "baseline"
CANDIDATE = "candidate"
MODELS = (BASELINE, CANDIDATE)

FOLDER = "predictions"

REFERENCE_BOUNDARY, REFERENCE_TOP = "reference_boundary", "reference_top"
REFERENCES = (REFERENCE_BOUNDARY, REFERENCE_TOP)
"""Linear probes on the pooled features of the frozen backbone."""

_CHOICE, _PROBABILITY, _LOGITS, _UNKNOWN = "label_id", "probability", "logits", "unknown_score"
_FOLD, _TRAIN_IMAGES = "fold", "train_images"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # SHA-256 of the image file, in hexadecimal
        ("path", pa.string()),
        ("label", pa.string()),  # the true class
        ("label_id", pa.int64()),
        ("group", pa.string()),  # of images that belong together; empty: the image is alone
        ("weight", pa.float32()),  # how much the image counts, by its source
        *(
            (f"{model}_{name}", kind)
            for model in MODELS
            for name, kind in (
                (_CHOICE, pa.int64()),  # the most probable class
                (_PROBABILITY, pa.float32()),  # of that
                (_LOGITS, pa.list_(pa.float32())),  # by label id
                (_UNKNOWN, pa.float32()),  # the higher, the less like a training image
            )
        ),
        *((f"{name}_{_CHOICE}", pa.int64()) for name in REFERENCES),  # null: there is no such probe
        (_FOLD, pa.int64()),  # of cross-fitted predictions; null: of the test split
        (_TRAIN_IMAGES, pa.int64()),  # how many both models of the fold were trained on
    ]
)
"""A row an image. The columns of a model begin with its name."""


@dataclass(frozen=True)
class Choice:
    """What a model said of an image.

    Attributes:
      label_id: its first choice.
      probability: of that; None where the model's output is not finite.
    """

    label_id: int
    probability: float | None


@dataclass(frozen=True)
class Row:
    """What both models said of one test image.

    Attributes:
      id: SHA-256 of the image file, in hexadecimal.
      path: of the image file.
      label: the true class.
      baseline: first choice of the model after fit 1.
      candidate: first choice of the model after fit 2.
      weight: how much the image counts, by its source.
    """

    id: str
    path: str
    label: str
    baseline: Choice
    candidate: Choice
    weight: float = 1.0

    def choice(self, model: str) -> Choice:
        """The first choice of `BASELINE` or of `CANDIDATE`."""
        return {BASELINE: self.baseline, CANDIDATE: self.candidate}[model]


@dataclass(frozen=True)
class ModelAnswers:
    """What one model said of n images.

    Attributes:
      choices: int64 [n], label ids.
      probabilities: float32 [n], of the choices.
      logits: float32 [n, classes], by label id.
      unknown_scores: float32 [n], the higher, the less like a training image.
    """

    choices: np.ndarray
    probabilities: np.ndarray
    logits: np.ndarray
    unknown_scores: np.ndarray


@dataclass(frozen=True)
class Folds:
    """Which models gave the answers: those of the fold that an image was left out with.

    Attributes:
      numbers: int64 [n], the fold of each image.
      train_images: fold -> how many images its models were trained on.
    """

    numbers: np.ndarray
    train_images: Mapping[int, int]


@dataclass(frozen=True)
class Predictions:
    """Both models' answers to n test images, ordered by the images' ids.

    Attributes:
      ids: SHA-256 of the image files, in hexadecimal.
      paths: of the image files.
      labels: the true classes.
      label_ids: int64 [n], the same as numbers.
      groups: names of groups of images that belong together; empty: the image is alone.
      weights: float32 [n], how much each image counts, by its source.
      answers: model -> what it said.
      folds: of cross-fitted predictions; None: these are of the test split.
      references: name of a linear probe -> its first choices, int64 [n]; of `REFERENCES` those that
        there are.
    """

    ids: list[str]
    paths: list[str]
    labels: list[str]
    label_ids: np.ndarray
    groups: list[str]
    weights: np.ndarray
    answers: Mapping[str, ModelAnswers]
    references: Mapping[str, np.ndarray] = field(default_factory=dict)
    folds: Folds | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def right(self, model: str) -> np.ndarray:
        """Bool [n], whether the model's first choice is the true class."""
        return np.asarray(self.answers[model].choices == self.label_ids)

    def group_numbers(self) -> np.ndarray:
        """int64 [n]; an image that is alone has a number of its own."""
        names = [group or f"image {own}" for group, own in zip(self.groups, self.ids, strict=True)]
        return np.unique(names, return_inverse=True)[1]

    def rows(self) -> Iterator[Row]:
        """Each image by itself, without the logits."""
        for index, identity in enumerate(self.ids):
            yield Row(
                identity,
                self.paths[index],
                self.labels[index],
                self._choice(BASELINE, index),
                self._choice(CANDIDATE, index),
                float(self.weights[index]),
            )

    def _choice(self, model: str, index: int) -> Choice:
        answers = self.answers[model]
        probability = float(answers.probabilities[index])
        return Choice(
            int(answers.choices[index]), probability if np.isfinite(probability) else None
        )


def columns_of(
    model: str, logits: np.ndarray, probabilities: np.ndarray, unknown_score: float
) -> dict[str, int | float | list[float]]:
    """One model's part of a row.

    Args:
      model: `BASELINE` or `CANDIDATE`.
      logits: float32 [classes].
      probabilities: float32 [classes]; what is served decides the choice, not the logits, which
        can differ where two probabilities are the same number.
      unknown_score: the higher, the less like a training image.
    """
    best = int(np.argmax(probabilities))
    return {
        f"{model}_{_CHOICE}": best,
        f"{model}_{_PROBABILITY}": float(probabilities[best]),
        f"{model}_{_LOGITS}": logits.tolist(),
        f"{model}_{_UNKNOWN}": float(unknown_score),
    }


def reference_columns(logits: Mapping[str, np.ndarray | None]) -> dict[str, int | None]:
    """The linear probes' part of a row.

    Args:
      logits: name of `REFERENCES` -> float32 [classes]; None: there is no such probe.
    """
    return {
        f"{name}_{_CHOICE}": None if one is None else int(np.argmax(one))
        for name, one in logits.items()
    }


def fold_columns(fold: int, train_images: int) -> dict[str, int]:
    """The part of a row that says which fold it is of, and what that was trained on."""
    return {_FOLD: fold, _TRAIN_IMAGES: train_images}


def holds_predictions(uri: str) -> bool:
    """Whether there is something for `read_predictions`."""
    return bool(tf.io.gfile.glob(os.path.join(uri, FOLDER, "*.parquet")))


def write_rows(rows: Iterable[Mapping[str, object]], path: str) -> None:
    """Writes rows of `SCHEMA` into one file; an older one stays until it is complete."""
    buffer = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(list(rows), SCHEMA), buffer)
    tf.io.gfile.makedirs(os.path.dirname(path))
    write_replacing(path, buffer.getvalue().to_pybytes())


def read_predictions(evaluation_uri: str) -> Predictions:
    """Reads what the Evaluator has written, from a local folder or a store.

    Example:
      read_predictions("out/artifacts/Evaluator/evaluation/9").right("candidate").mean()

    Raises:
      ThawError: if there is nothing, or it was written by another version.
    """
    pattern = os.path.join(evaluation_uri, FOLDER, "*.parquet")
    tables = [_read(path) for path in sorted(tf.io.gfile.glob(pattern))]
    if not tables:
        raise ThawError(
            "holds no predictions.",
            where=evaluation_uri,
            to_do="Delete this folder, and run the same command again: the Evaluator writes them.",
        )
    table = pa.concat_tables(tables).sort_by("id")
    return Predictions(
        ids=table["id"].to_pylist(),
        paths=table["path"].to_pylist(),
        labels=table["label"].to_pylist(),
        label_ids=table["label_id"].to_numpy(),
        groups=table["group"].to_pylist(),
        weights=table["weight"].to_numpy(),
        answers={model: _answers(table, model) for model in MODELS},
        references={
            name: table[f"{name}_{_CHOICE}"].to_numpy()
            for name in REFERENCES
            if not table[f"{name}_{_CHOICE}"].null_count
        },
        folds=_folds(table),
    )


def _folds(table: pa.Table) -> Folds | None:
    if not len(table) or table[_FOLD].null_count:
        return None
    numbers, counts = table[_FOLD].to_numpy(), table[_TRAIN_IMAGES].to_numpy()
    return Folds(numbers, dict(zip(numbers.tolist(), counts.tolist(), strict=True)))


def _read(path: str) -> pa.Table:
    with tf.io.gfile.GFile(path, "rb") as file:
        table = parquet.read_table(pa.BufferReader(file.read()))
    if not table.schema.equals(SCHEMA):
        raise ThawError(
            "does not hold predictions as this version of Thaw writes them.",
            where=path,
            to_do="Delete the folder that it is in, and run the same command again.",
        )
    return table


def _answers(table: pa.Table, model: str) -> ModelAnswers:
    logits = table[f"{model}_{_LOGITS}"].combine_chunks()
    flat = logits.flatten().to_numpy(zero_copy_only=False)
    return ModelAnswers(
        choices=table[f"{model}_{_CHOICE}"].to_numpy(),
        probabilities=table[f"{model}_{_PROBABILITY}"].to_numpy(),
        logits=flat.reshape(len(table), -1) if len(table) else np.empty((0, 0), np.float32),
        unknown_scores=table[f"{model}_{_UNKNOWN}"].to_numpy(),
    )
