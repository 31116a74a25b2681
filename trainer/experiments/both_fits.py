"""Runs both fits on some images and asks both models about others."""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
import tf_keras as keras

from trainer import keys as names
from trainer.data import fit_data as data
from trainer.data.card import DataCard
from trainer.data.examples import bytes_of, in_batches
from trainer.data.predictions import BASELINE, CANDIDATE, MODELS, columns_of
from trainer.distribution.strategy import make_strategy
from trainer.earlier_head import WEIGHTS_FILE
from trainer.experiments.images import split_file
from trainer.fits.class_weights import class_weights
from trainer.job import Job, build
from trainer.job_data import parser_of
from trainer.model.classifier import on_trunk_features
from trainer.model.weight_files import load_weights
from trainer.run_fits import run_fine_tune, run_head_fit
from trainer.specs import FineTunerArgs, HeadTrainerArgs, TrainingArgs

_BATCH_SIZE = 32

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


def job_of(args: TrainingArgs, card: DataCard, splits_dir: str, model_dir: str) -> Job:
    """A job that leaves weights, and exports nothing.

    Args:
      args: settings of the fit.
      card: of the images in `splits_dir`.
      splits_dir: from `write_splits`.
      model_dir: where the weights go.
    """
    return Job(
        spec=args.model.with_classes(len(card.labels)),
        labels=card.labels,
        data_card=card,
        train_files=[split_file(splits_dir, names.TRAIN)],
        val_files=[split_file(splits_dir, names.VAL)],
        global_batch_size=args.global_batch_size,
        seed=args.seed,
        precision=args.precision,
        cache=args.cache,
        augmentation=args.augmentation,
        max_pixels=args.max_pixels,
        reading=args.reading,
        class_weights=class_weights(args.class_weights, card),
        config={},
        model_dir=model_dir,
        saved_model_dir="",
        log_dir="",
        make_strategy=_one_strategy,
    )


def run_both(fits: BothFits, card: DataCard, splits_dir: str, work_dir: str) -> dict[str, str]:
    """Runs fit 1 and fit 2.

    Args:
      fits: what they do.
      card: of the images in `splits_dir`.
      splits_dir: from `write_splits`; the train and val splits are read.
      work_dir: a local folder.

    Returns:
      Model, `BASELINE` or `CANDIDATE` -> path of its weights.
    """
    folders = {model: os.path.join(work_dir, model) for model in MODELS}
    head = job_of(fits.head, card, splits_dir, folders[BASELINE])
    run_head_fit(head, fits.head.fit, fits.backbone_weights)
    keras.backend.clear_session()
    top = job_of(fits.fine_tune, card, splits_dir, folders[CANDIDATE])
    run_fine_tune(top, fits.fine_tune.fit, folders[BASELINE])
    keras.backend.clear_session()
    return {model: os.path.join(folder, WEIGHTS_FILE) for model, folder in folders.items()}


def predict_rows(
    args: TrainingArgs, card: DataCard, splits_dir: str, weights: dict[str, str]
) -> Iterator[dict[str, object]]:
    """Asks both models about the test split.

    Yields:
      A row of `predictions.SCHEMA` for each image.
    """
    job = job_of(args, card, splits_dir, "")
    assert job.cache
    built = build(job)
    above = on_trunk_features(built.classifier, built.backbone, job.cache.layer)
    parse = parser_of(job, above)
    run = tf.function(lambda inputs: above(inputs, training=False), reduce_retracing=True)
    records = list(_read(split_file(splits_dir, names.TEST)))
    found: dict[str, np.ndarray] = {}
    for model in MODELS:
        load_weights(built.classifier, weights[model])
        found[model] = np.concatenate(
            [_ask(run, parse, one) for one in in_batches(records, _BATCH_SIZE)]
        )
    for index, example in enumerate(records):
        row = _describe(example, card)
        for model in MODELS:
            logits = found[model][index]
            row.update(columns_of(model, logits, tf.nn.softmax(logits).numpy(), 0.0))
        yield row


def _read(path: str) -> Iterator[tf.train.Example]:
    for record in data.read_records([path]).as_numpy_iterator():
        yield tf.train.Example.FromString(record)


def _ask(run: tf.types.experimental.GenericFunction, parse: data.Parse, batch: list) -> np.ndarray:
    inputs = [parse(tf.constant(example.SerializeToString()))[0] for example in batch]
    return np.asarray(run(tf.stack(inputs)))


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
