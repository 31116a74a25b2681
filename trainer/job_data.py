"""What a job reads: images, features of the trunk, or pooled vectors."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from trainer import keys
from trainer.calibration.fit import MOST_IMAGES
from trainer.calibration.unknown import Pooled
from trainer.data import fit_data as data
from trainer.distribution.strategy import local_share, this_worker
from trainer.job import Job
from trainer.model import trunk
from trainer.process import progress
from trainer.specs import NO_CHANGE, Augmentation


def parser_of(job: Job, trained_part: keras.Model) -> data.Parse:
    """Reads what `trained_part` takes from an example."""
    if job.cache:
        shape = trained_part.input_shape[1:]
        return data.trunk_parser(shape, job.cache.dtype, job.data_card.weighted)
    return data.image_parser(job.spec.image_size_px, job.data_card.weighted)


def train_views(job: Job) -> list[list[str]]:
    """Files of the training split, a list for each view."""
    return trunk.files_by_view(data.list_files(job.train_files))


def unpooled_data(
    job: Job, trained_part: keras.Model, strategy: tf.distribute.Strategy
) -> data.FitData:
    """Images, or what the trunk made of them, for a fit that runs the rest of the backbone."""
    return _make_fit_data(
        job,
        strategy,
        [data.read_records(files) for files in train_views(job)],
        data.read_records(data.list_files(job.val_files)),
        parser_of(job, trained_part),
        # What the trunk made of images is kept in augmented views already.
        NO_CHANGE if job.cache else job.augmentation,
    )


def pooled_data(
    job: Job, paths: Sequence[str], width: int, strategy: tf.distribute.Strategy
) -> data.FitData:
    """What `pool_vectors` has written, vectors of `width`, for the head's fit."""
    vectors = [data.read_vectors(path, width) for path in paths]
    parse = data.vector_parser(width, job.data_card.weighted)
    return _make_fit_data(job, strategy, vectors[:-1], vectors[-1], parse)


def pool_vectors(
    job: Job, pool: keras.Model, folder: str, strategy: tf.distribute.Strategy
) -> list[str]:
    """Writes a file of pooled vectors for each view of the training split, then validation's.

    Workers divide the work and then each write all vectors: of an image they are a
    hundredth of what is read to make them.

    Args:
      job: its cache must be set.
      pool: from `pooling`.
      folder: a local one.
      strategy: that `pool` was made under.
    """
    views, val = train_views(job), data.list_files(job.val_files)
    num_train, num_val = (job.data_card.num_examples(s) for s in (keys.TRAIN, keys.VAL))
    share, watched = local_share(strategy), this_worker(strategy).is_chief
    counter = progress.Counter("images pooled", num_train * len(views) + num_val, watched)
    paths = []
    for number, files in enumerate([*views, val]):
        path = os.path.join(folder, f"vectors-{number}")
        batches = data.in_batches(
            data.read_records(files), parser_of(job, pool), job.global_batch_size, share
        )
        data.write_vectors(batches, pool, path, counter, strategy)
        paths.append(path)
    return paths


def _make_fit_data(
    job: Job,
    strategy: tf.distribute.Strategy,
    train: Sequence[tf.data.Dataset],
    val: tf.data.Dataset,
    parse: data.Parse,
    augmentation: Augmentation = NO_CHANGE,
) -> data.FitData:
    made = data.make_fit_data(
        train,
        val,
        parse,
        job.data_card.num_examples(keys.TRAIN),
        job.global_batch_size,
        job.spec.num_classes,
        job.seed,
        augmentation,
        local_share(strategy),
        job.data_card.num_examples(keys.VAL),
        job.data_card.weighted,
    )
    return data.spread_over(strategy, made)


def load_pooled(paths: Sequence[str], width: int) -> tuple[Pooled, Pooled]:
    """Training images, not augmented, and validation's, of what `pool_vectors` has written.

    Of each at most `MOST_IMAGES`.
    """
    train, val = (_load_some(path, width) for path in (paths[0], paths[-1]))
    return train, val


def _load_some(path: str, width: int) -> Pooled:
    every = -(-data.count_vectors(path, width) // MOST_IMAGES) or 1
    vectors, labels, _ = data.load_vectors(path, width, every)
    return Pooled(vectors, labels)


def load_all_pooled(job: Job, paths: Sequence[str], width: int) -> tuple[Pooled, Pooled] | None:
    """All views of the training images, and validation's, with their weights in the losses.

    Returns:
      None if they do not fit in memory three times: as they are, standardized, and to work on.
    """
    if not data.fits_in_memory(3 * sum(os.path.getsize(path) for path in paths)):
        return None
    views = (Pooled(*data.load_vectors(path, width)) for path in paths)
    return merge_views([view.weighted(job.class_weights) for view in views])


def merge_views(views: Sequence[Pooled]) -> tuple[Pooled, Pooled]:
    """All views of the training images as one, and validation's, which comes last."""
    *train, val = views
    columns = zip(*((one.vectors, one.labels, one.weights) for one in train), strict=True)
    return Pooled(*(np.concatenate(column) for column in columns)), val
