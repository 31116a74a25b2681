"""Runs both fits on some images and asks both models about others."""

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
import tf_keras as keras

from trainer import keys as names
from trainer.data.card import DataCard
from trainer.data.examples import bytes_of, in_batches
from trainer.data.predictions import BASELINE, CANDIDATE, MODELS, columns_of
from trainer.distribution.strategy import make_strategy
from trainer.earlier_head import WEIGHTS_FILE
from trainer.job import Job, build, make_job
from trainer.job_data import parser_of
from trainer.model.classifier import on_pooled, pooling
from trainer.model.weight_files import load_weights
from trainer.run_fits import run_fine_tune, run_head_fit
from trainer.specs import FineTunerArgs, HeadTrainerArgs, TrainingArgs

_BATCH_SIZE = 32

SplitFiles = Mapping[str, Sequence[str]]
"""Split -> globs of its files of features."""

# TensorFlow meets other workers once a process, and these fits have none.
_one_strategy = functools.cache(make_strategy)


@dataclass(frozen=True)
class BothFits:
    """What both fits do.

    Attributes:
      head: settings of fit 1; its cache must be set.
      fine_tune: settings of fit 2.
      backbone_weights: path of the backbone's `.h5` weights file.
    """

    head: HeadTrainerArgs
    fine_tune: FineTunerArgs
    backbone_weights: str

    def with_seed(self, seed: int) -> "BothFits":
        """The same from another seed."""
        return replace(
            self,
            head=replace(self.head, seed=seed),
            fine_tune=replace(self.fine_tune, seed=seed),
        )


def job_of(args: TrainingArgs, card: DataCard, files: SplitFiles, model_dir: str) -> Job:
    """A job that leaves weights, and exports nothing.

    Args:
      args: settings of the fit.
      card: of the images.
      files: that hold them.
      model_dir: where the weights go.
    """
    job = make_job(args, card, files[names.TRAIN], files[names.VAL], (model_dir, "", ""))
    return replace(job, make_strategy=_one_strategy)


def run_both(fits: BothFits, card: DataCard, files: SplitFiles, work_dir: str) -> dict[str, str]:
    """Runs fit 1 and fit 2.

    Args:
      fits: what they do.
      card: of the images.
      files: that hold them.
      work_dir: a local folder.

    Returns:
      Model, `BASELINE` or `CANDIDATE` -> its folder, with its weights and the record of its fit.
    """
    folders = {model: os.path.join(work_dir, model) for model in MODELS}
    head = job_of(fits.head, card, files, folders[BASELINE])
    run_head_fit(head, fits.head.fit, fits.backbone_weights)
    keras.backend.clear_session()
    fine_tune_from(fits, card, files, folders[BASELINE], folders[CANDIDATE])
    return folders


def fine_tune_from(
    fits: BothFits, card: DataCard, files: SplitFiles, start_dir: str, model_dir: str
) -> None:
    """Runs fit 2 from the weights in one folder; leaves those that it ends with in another."""
    run_fine_tune(job_of(fits.fine_tune, card, files, model_dir), fits.fine_tune.fit, start_dir)
    keras.backend.clear_session()


class AskedClassifier:
    """A classifier on features of the trunk, whose weights can be exchanged."""

    def __init__(self, args: TrainingArgs, card: DataCard) -> None:
        """Args:
        args: settings of a fit; its cache must be set.
        card: of the images.
        """
        job = job_of(args, card, {names.TRAIN: (), names.VAL: ()}, "")
        assert job.cache
        built = build(job)
        pool = pooling(built.classifier, built.backbone, job.cache.layer)
        head = on_pooled(built.classifier)

        @functools.partial(tf.function, reduce_retracing=True)
        def run(inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            vectors = pool(inputs, training=False)
            return vectors, head(vectors, training=False)

        self.classifier, self.backbone = built.classifier, built.backbone
        self._parse, self._run = parser_of(job, pool), run
        self.pool, self.head = pool, head

    def load(self, model_dir: str) -> None:
        """Takes the weights that a fit has left."""
        load_weights(self.classifier, os.path.join(model_dir, WEIGHTS_FILE))

    def inputs_of(self, examples: Sequence[tf.train.Example]) -> tf.Tensor:
        """Float32 [n, height, width, channels], the trunk's output."""
        return tf.stack([self._parse(tf.constant(one.SerializeToString()))[0] for one in examples])

    def ask(self, examples: Iterable[tf.train.Example]) -> tuple[np.ndarray, np.ndarray]:
        """Float32 [n, width] pooled vectors, and float32 [n, classes] logits."""
        found = [self._run(self.inputs_of(batch)) for batch in in_batches(examples, _BATCH_SIZE)]
        vectors, logits = (np.concatenate(column) for column in zip(*found, strict=True))
        return vectors, logits


def predict_rows(
    args: TrainingArgs,
    card: DataCard,
    test: Sequence[tf.train.Example],
    folders: Mapping[str, str],
) -> Iterator[dict[str, object]]:
    """Asks both models about images.

    Args:
      args: settings of a fit.
      card: of the images.
      test: the examples.
      folders: model -> what `run_both` has left of it.

    Yields:
      A row of `predictions.SCHEMA` for each image.
    """
    asked = AskedClassifier(args, card)
    found: dict[str, np.ndarray] = {}
    for model in MODELS:
        asked.load(folders[model])
        _, found[model] = asked.ask(test)
    for index, example in enumerate(test):
        row = _describe(example, card)
        for model in MODELS:
            logits = found[model][index]
            row.update(columns_of(model, logits, tf.nn.softmax(logits).numpy(), 0.0))
        yield row


def _describe(example: tf.train.Example, card: DataCard) -> dict[str, object]:
    label = bytes_of(example, names.LABEL).decode()
    weight = example.features.feature[names.WEIGHT].float_list.value
    return {
        "id": bytes_of(example, names.ID).decode(),
        "path": bytes_of(example, names.PATH).decode(),
        "label": label,
        "label_id": card.labels.index(label),
        "group": bytes_of(example, names.GROUP).decode(),
        "weight": weight[0] if weight else 1.0,
    }
