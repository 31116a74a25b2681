"""What a fit leaves: one model, exported by the chief."""

import os

import numpy as np
import tensorflow as tf

from trainer import keys
from trainer.calibration.fit import (
    MOST_IMAGES,
    Fitted,
    fit_calibration,
)
from trainer.calibration.probe import Probe, fit_probe
from trainer.calibration.unknown import Pooled
from trainer.data import fit_data as data
from trainer.data.predictions import REFERENCE_BOUNDARY, REFERENCE_TOP
from trainer.distribution.strategy import this_worker, wait_for_all, whole_batches
from trainer.earlier_head import WEIGHTS_FILE
from trainer.export import ExportInfo
from trainer.fits.record import FitRecord, write_fit
from trainer.job import BuiltClassifier, Job
from trainer.job_data import parser_of, train_views
from trainer.model.parts import ClassifierParts, take_apart
from trainer.model.weight_files import save_weights
from trainer.process import progress
from trainer.records import to_json
from trainer.specs import ServedImages

PooledSplits = tuple[Pooled, Pooled]
"""Training and validation images."""


def finish(
    job: Job,
    strategy: tf.distribute.Strategy,
    plain: BuiltClassifier,
    trained: BuiltClassifier,
    record: FitRecord,
    *,
    with_probes: bool = False,
    pooled: PooledSplits | None = None,
) -> None:
    """Leaves the model: one, whose weights all workers agree on.

    Other workers than the chief have nothing to save: what is exported is a copy that no
    strategy knows of. They wait until it is there, for TFX looks for it on each of them.

    Args:
      job: what was done.
      strategy: that `trained` was made under.
      plain: a float32 model outside the strategy, so that no replica's variables end up in the
        file; it gets the weights.
      trained: after the fit.
      record: of the fit.
      with_probes: whether linear probes on the pooled vectors go with the model.
      pooled: vectors that the fit has computed already, of at most `MOST_IMAGES` images.

    Raises:
      WorkersDiffer: if they do not agree.
    """
    # Of BatchNorm that follows the data this is the mean over the replicas: all take part.
    weights = trained.classifier.get_weights()
    job.check_weights(strategy, weights)
    if this_worker(strategy).is_chief:
        plain.classifier.set_weights(weights)
        if job.saved_model_dir:
            _export(job, plain, with_probes, pooled)
        save_weights(plain.classifier, os.path.join(job.model_dir, WEIGHTS_FILE))
        for folder in filter(None, (job.model_dir, job.log_dir)):
            write_fit(record, folder)
    wait_for_all(strategy)


def _export(
    job: Job,
    plain: BuiltClassifier,
    with_probes: bool,
    pooled: PooledSplits | None,
) -> None:
    layer = job.cache.layer if job.cache else None
    parts = take_apart(plain.classifier, plain.backbone, job.spec.backbone, layer)
    job.export(
        parts,
        ServedImages(job.spec.image_size_px, job.max_pixels, job.reading, job.data_card.holds_webp),
        parser_of(job, parts.pool),
        _fit_to(job, parts, with_probes, pooled),
        ExportInfo(job.labels, job.config, to_json(job.data_card)),
        job.saved_model_dir,
    )


def _fit_to(
    job: Job, parts: ClassifierParts, with_probes: bool, pooled: PooledSplits | None
) -> Fitted:
    """Fits on validation what goes with the weights."""
    train, val = pooled or _pool_splits(job, parts)
    probes: dict[str, Probe | None] = {}
    if with_probes:
        probes[REFERENCE_TOP] = fit_probe(train, val, job.spec.num_classes)
    if with_probes and job.cache:
        at_boundary = _pool_splits(job, parts, at_boundary=True)
        probes[REFERENCE_BOUNDARY] = fit_probe(*at_boundary, job.spec.num_classes)
    return fit_calibration(parts.head, train, val, job.labels, job.rejected_share, probes)


def _pool_splits(job: Job, parts: ClassifierParts, at_boundary: bool = False) -> PooledSplits:
    """The images as they are, not augmented: those of the first files, which are any."""

    def compute(inputs: tf.Tensor) -> tf.Tensor:
        if at_boundary:
            return tf.reduce_mean(inputs, axis=[1, 2])
        return parts.pool(inputs, training=False)

    splits = {keys.TRAIN: train_views(job)[0], keys.VAL: data.list_files(job.val_files)}
    count = sum(min(MOST_IMAGES, job.data_card.num_examples(split)) for split in splits)
    counter = progress.Counter("images to calibrate by", count)
    pooled = []
    for files in splits.values():
        records = data.read_records(files).take(MOST_IMAGES)
        batches = data.in_batches(records, parser_of(job, parts.pool), job.global_batch_size)
        found = []
        for vectors, ids, *_ in whole_batches(tf.distribute.get_strategy(), batches, compute):
            found.append((vectors, ids))
            counter.add(len(ids))
        vectors, ids = (np.concatenate(column) for column in zip(*found, strict=True))
        pooled.append(Pooled(vectors, ids))
    train, val = pooled
    return train, val
