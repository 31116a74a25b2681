"""Reads what the fits learn from, in an order that depends on the seed alone."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
import tensorflow as tf
import tf_keras as keras

from trainer import keys
from trainer.data import images
from trainer.data.augment import augment
from trainer.data.image_weights import pack_weights
from trainer.distribution.iterators import without_autotune
from trainer.distribution.shares import ALL, BatchShare
from trainer.distribution.strategy import spread, whole_batches
from trainer.errors import ThawError
from trainer.model import trunk
from trainer.process import progress
from trainer.specs import NO_CHANGE, Augmentation

# At 299 px a stored image takes 268 kB: this many in the shuffle buffer take 275 MB.
SHUFFLE_BUFFER = 1024

# Share of the memory that is available now which pooled vectors may take.
_VECTOR_MEMORY_SHARE = 0.25


@dataclass(frozen=True)
class FitData:
    """What a fit reads: batches of (inputs, one-hot float32 [batch, classes] labels).

    Of several replicas the slices of one process, with the weights of their rows; see
    `shares.BatchShare`.

    Attributes:
      train_from: passes without end, from the n-th on, counted from 0. Each is shuffled
        differently, and the n-th is always alike: a fit that resumes after an interruption reads
        what it would have read.
      val: one pass, in the order of the files; early stopping watches it. Of several
        replicas, passes without end.
      train_steps: batches in one pass over the training split; the last may be smaller.
      val_steps: of several replicas, batches in one pass over `val`.
    """

    train_from: Callable[[int], Any]
    val: Any
    train_steps: int
    val_steps: int | None = None

    @property
    def train(self) -> Any:
        """All passes, from the first on."""
        return self.train_from(0)


Parse = Callable[[tf.Tensor], tuple[tf.Tensor, ...]]
"""One record to (input, int64 label id), and the image's float32 weight where images have one."""


def list_files(patterns: Sequence[str]) -> list[str]:
    """Files of some globs, sorted.

    Raises:
      ValueError: if there are none.
    """
    files = sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
    if not files:
        raise ValueError(f"no examples in {', '.join(patterns)}.")
    return files


class DamagedRecords(ThawError):
    """A file of records cannot be read to its end. The message says which, and what to do."""


@contextmanager
def naming_damaged_files(patterns: Sequence[str]) -> Iterator[None]:
    """Says which file it was when TensorFlow finds a damaged record, which it does not.

    Args:
      patterns: globs of all files that are read inside.

    Raises:
      DamagedRecords: in place of `tf.errors.DataLossError`.
    """
    try:
        yield
    except tf.errors.DataLossError as error:
        for path in list_files(patterns):
            if reason := _damage(path):
                raise DamagedRecords(
                    f"{path} is damaged: {reason}.",
                    to_do="Delete the folder of this artifact and run again: "
                    "its node writes it again.",
                ) from error
        raise


def _damage(path: str) -> str | None:
    """What stops TensorFlow from reading a file of records; None if nothing does."""
    try:
        for _ in read_records([path]):
            pass
    except tf.errors.DataLossError as error:
        # "{{function_node …}} truncated record at 1234 [Op:IteratorGetNext] name:"
        return "a truncated record" if "truncated" in error.message else "a corrupted record"
    return None


def read_records(files: Sequence[str]) -> tf.data.Dataset:
    """TFRecords one after the other; gzipped if the first file's name says so."""
    compression = "GZIP" if files[0].endswith(".gz") else ""
    records = tf.data.TFRecordDataset(files, compression_type=compression)
    return records.with_options(without_autotune())


def image_parser(size_px: int, weighted: bool = False) -> Parse:
    """Parses an example of Transform: uint8 [size_px, size_px, 3], int64 label id."""

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, ...]:
        example = tf.io.parse_single_example(record, images.FEATURE_SPEC)
        return images.parse_image(example[keys.IMAGE], size_px), *_answer(example, weighted)

    return parse


def trunk_parser(shape: tuple[int, int, int], dtype: str, weighted: bool = False) -> Parse:
    """Parses an example of TrunkFeatures: float32 of `shape`, int64 label id."""

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, ...]:
        example = tf.io.parse_single_example(record, trunk.FEATURE_SPEC)
        found = trunk.parse_features(example[keys.TRUNK], dtype)
        return tf.ensure_shape(found, shape), *_answer(example, weighted)

    return parse


def _answer(example: dict[str, tf.Tensor], weighted: bool) -> tuple[tf.Tensor, ...]:
    """What a fit learns from an image: the label id, and the weight of it."""
    label_id = example[keys.LABEL_ID]
    return (label_id, example[keys.WEIGHT]) if weighted else (label_id,)


def vector_parser(width: int, weighted: bool = False) -> Parse:
    """Parses a record of `write_vectors`: float32 [width], int64 label id."""

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, ...]:
        label_id = tf.io.decode_raw(tf.strings.substr(record, 0, 8), tf.int64)
        weight = tf.io.decode_raw(tf.strings.substr(record, 8, 4), tf.float32)
        vector = tf.io.decode_raw(tf.strings.substr(record, 12, 4 * width), tf.float32)
        answer = {keys.LABEL_ID: tf.reshape(label_id, []), keys.WEIGHT: tf.reshape(weight, [])}
        return tf.ensure_shape(vector, [width]), *_answer(answer, weighted)

    return parse


def in_batches(
    records: tf.data.Dataset, parse: Callable[..., Any], batch_size: int, share: BatchShare = ALL
) -> tf.data.Dataset:
    """One pass of (inputs, int64 [batch] label ids), in order; the last batch may be smaller.

    Where the images have weights, float32 [batch] of them follow.

    Args:
      records: all of them, whatever the share: a record's place among them decides which
        batch it is in, and only what is taken of a batch is parsed.
      parse: of one record.
      batch_size: global.
      share: of several replicas: then of each batch the slices of this process, one after
        the other and all of the same size, and last of all the float32 weights of its rows.
    """

    def weighted(weight: tf.Tensor, *record: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return *parse(*record), weight

    if not share.is_all:
        batches = records.batch(batch_size)
        records = batches.map(functools.partial(share.take, batch_size)).unbatch()
    return (
        records.map(
            parse if share.is_all else weighted,
            num_parallel_calls=os.cpu_count(),
            deterministic=True,
        )
        .batch(share.slice_size(batch_size), drop_remainder=not share.is_all)
        .prefetch(2)
        .with_options(_unsharded())
    )


def _unsharded() -> tf.data.Options:
    options = without_autotune()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options


def make_fit_data(
    train: Sequence[tf.data.Dataset],
    val: tf.data.Dataset,
    parse: Parse,
    num_train: int,
    batch_size: int,
    num_classes: int,
    seed: int,
    augmentation: Augmentation = NO_CHANGE,
    share: BatchShare = ALL,
    num_val: int | None = None,
    weighted: bool = False,
) -> FitData:
    """Puts together what a fit reads.

    Args:
      train: records of the training split, one data set for each view of its images;
        the passes take turns over them.
      val: records of the validation split.
      parse: of one record.
      num_train: records in one view.
      batch_size: global; the same number of steps for every view.
      num_classes: width of the one-hot labels.
      seed: decides the order of each pass; the n-th is always alike.
      augmentation: changes training images differently in every pass; for uint8 images only.
      share: what this process gets of every batch.
      num_val: records of the validation split; only asked for if there are several shares.
      weighted: whether `parse` gives the images' weights.
    """

    def one_hot(inputs: tf.Tensor, ids: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        labels = tf.one_hot(ids, num_classes)
        if not weighted:
            return inputs, labels, *weights
        of_images, *of_rows = weights
        (of_rows,) = of_rows or [tf.fill(tf.shape(ids), 1.0 / tf.cast(tf.size(ids), tf.float32))]
        return inputs, labels, pack_weights(of_rows, of_images)

    def changed(record: tf.Tensor, chance: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image, *answer = parse(record)
        return augment(image, chance, augmentation), *answer

    def one_pass(view: tf.data.Dataset, number: tf.Tensor) -> tf.data.Dataset:
        # A seed for each pass: TensorFlow's own reshuffling begins with the first again
        # whenever a process does. The factor keeps passes of neighbouring seeds apart.
        own_seed = seed * 100_003 + number
        # TensorFlow asks whether (global seed, own seed) are (0, 0), which a tensor cannot
        # answer here; with another global seed it does not get that far.
        graph = tf.compat.v1.get_default_graph()
        graph.seed = graph.seed or 1
        shuffled = view.shuffle(SHUFFLE_BUFFER, own_seed, reshuffle_each_iteration=False)
        if not augmentation:
            return in_batches(shuffled, parse, batch_size, share)
        chance = tf.data.Dataset.random(own_seed).batch(2)
        both = tf.data.Dataset.zip((shuffled, chance))
        return in_batches(both, changed, batch_size, share)

    def train_from(first: int) -> tf.data.Dataset:
        turn = first % len(train)
        views = [*train[turn:], *train[:turn]]

        def one_round(number: tf.Tensor) -> tf.data.Dataset:
            passes = [one_pass(view, number + place) for place, view in enumerate(views)]
            return functools.reduce(tf.data.Dataset.concatenate, passes)

        rounds = tf.data.Dataset.range(first, tf.int64.max, len(views))
        return (
            rounds.flat_map(one_round)
            .map(one_hot)
            # Told that it never ends, workers need not ask each other at every step.
            .apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
            .with_options(_unsharded())
        )

    one_val = in_batches(val, parse, batch_size, share).map(one_hot)
    return FitData(
        train_from=train_from,
        val=one_val if share.is_all else one_val.repeat(),
        train_steps=-(-num_train // batch_size),
        val_steps=None if share.is_all else -(-_known(num_val) // batch_size),
    )


def _known(num_val: int | None) -> int:
    if not num_val:
        raise ValueError(
            "of several replicas, each must know how many validation images there are."
        )
    return num_val


def spread_over(strategy: tf.distribute.Strategy, made: FitData) -> FitData:
    """The same data as Keras takes it under a strategy of several replicas."""
    if strategy.num_replicas_in_sync == 1:
        return made
    return replace(
        made,
        train_from=lambda first: spread(strategy, made.train_from(first)),
        val=spread(strategy, made.val),
    )


def write_vectors(
    batches: tf.data.Dataset,
    pool: keras.Model,
    path: str,
    counter: progress.Counter,
    strategy: tf.distribute.Strategy | None = None,
) -> None:
    """Pools the feature map of every image once: label id, weight and vector a record.

    Args:
      batches: from `in_batches`; without weights, all are 1.
      pool: its inputs to [batch, width].
      path: a local file.
      counter: counts the images.
      strategy: its replicas pool a slice each; the file holds the vectors of all of them.
    """

    def compute(inputs: tf.Tensor) -> tf.Tensor:
        return tf.cast(pool(inputs, training=False), tf.float32)

    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        for vectors, ids, *weights in whole_batches(
            strategy or tf.distribute.get_strategy(), batches, compute
        ):
            records = np.empty(len(vectors), _vector_record(vectors.shape[1]))
            records["label_id"], records["vector"] = ids, vectors
            records["weight"] = weights[0] if weights else 1.0
            file.write(records.tobytes())
            counter.add(len(vectors))


def _vector_record(width: int) -> np.dtype:
    return np.dtype([("label_id", "<i8"), ("weight", "<f4"), ("vector", "<f4", width)])


def count_vectors(path: str, width: int) -> int:
    """How many records a file of `write_vectors` holds."""
    return os.path.getsize(path) // _vector_record(width).itemsize


def load_vectors(
    path: str, width: int, every: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads a file of `write_vectors` into memory.

    Args:
      path: the file.
      width: of a vector.
      every: takes only the first of so many records.

    Returns:
      float32 [n, width] vectors, int64 [n] label ids and float32 [n] weights.
    """
    records = np.memmap(path, _vector_record(width), mode="r")[::every]
    vectors, ids, weights = (np.array(records[name]) for name in ("vector", "label_id", "weight"))
    return vectors, ids, weights


def read_vectors(path: str, width: int) -> tf.data.Dataset:
    """Records of `write_vectors`: from memory where they fit, from the file where not."""
    records = tf.data.FixedLengthRecordDataset(path, _vector_record(width).itemsize)
    return records.cache() if fits_in_memory(os.path.getsize(path)) else records


def fits_in_memory(num_bytes: int) -> bool:
    """Whether so much may be kept in memory for the length of a fit."""
    return num_bytes <= _VECTOR_MEMORY_SHARE * psutil.virtual_memory().available
