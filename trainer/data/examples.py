"""Reads `tf.train.Example`s of one split, one by one or in batches."""

import os
from collections.abc import Iterable, Iterator

import tensorflow as tf

from trainer import keys
from trainer.data.fit_data import list_files, read_records


def read_examples(uri: str, split: str, pattern: str = "*") -> Iterator[tf.train.Example]:
    """Yields the examples of a split, in the order of its files.

    Args:
      uri: folder of the examples.
      split: name of the split.
      pattern: of the files' names.

    Raises:
      ValueError: if there is no such file.
    """
    files = list_files([os.path.join(uri, keys.split_folder(split), pattern)])
    for record in read_records(files).as_numpy_iterator():
        yield tf.train.Example.FromString(record)


def in_batches(examples: Iterable[tf.train.Example], size: int) -> Iterator[list[tf.train.Example]]:
    """Yields lists of `size` examples; the last may be shorter."""
    batch: list[tf.train.Example] = []
    for example in examples:
        batch.append(example)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def bytes_of(example: tf.train.Example, name: str) -> bytes:
    """The one value of a feature of bytes."""
    (value,) = example.features.feature[name].bytes_list.value
    return bytes(value)
