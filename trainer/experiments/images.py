"""All images of a run, whatever split they are in, as the fits read them."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from trainer import keys
from trainer.data.card import DataCard
from trainer.data.examples import bytes_of, read_examples
from trainer.data.fit_data import list_files, read_records
from trainer.model.trunk import view_name


@dataclass(frozen=True)
class ImageInfo:
    """What is known of one image, besides its features.

    Attributes:
      id: SHA-256 of the file, hexadecimal.
      label: its class.
      group: of images that belong together; empty: it is alone.
    """

    id: str
    label: str
    group: str


def read_all(features_uri: str) -> Iterator[tf.train.Example]:
    """Yields the examples of all splits, the images as they are, not augmented."""
    for split in keys.SPLITS:
        yield from read_examples(features_uri, split, view_name(0, "*"))


def read_infos(features_uri: str) -> list[ImageInfo]:
    """Lists all images, ordered by their ids."""
    infos = (
        ImageInfo(*(bytes_of(one, name).decode() for name in (keys.ID, keys.LABEL, keys.GROUP)))
        for one in read_all(features_uri)
    )
    return sorted(infos, key=lambda info: info.id)


def write_splits(
    examples: Iterable[tf.train.Example], split_of: Mapping[str, str], folder: str
) -> dict[str, list[str]]:
    """Writes examples into one file for each split.

    Args:
      examples: in any order; each split keeps it.
      split_of: id of an image -> name of its split; images that are not in it are left out.
      folder: a local one.

    Returns:
      Split -> its only file, in a list.
    """
    paths = {split: os.path.join(folder, f"{split}.tfrecord") for split in set(split_of.values())}
    writers = {split: tf.io.TFRecordWriter(path) for split, path in paths.items()}
    for example in examples:
        split = split_of.get(bytes_of(example, keys.ID).decode())
        if split:
            writers[split].write(example.SerializeToString())
    for writer in writers.values():
        writer.close()
    return {split: [path] for split, path in paths.items()}


def read_examples_of(patterns: Sequence[str], most: int = -1) -> Iterator[tf.train.Example]:
    """Yields the examples of some files, given as globs; at most so many, or all."""
    for record in read_records(list_files(patterns)).take(most).as_numpy_iterator():
        yield tf.train.Example.FromString(record)


def card_of_splits(
    card: DataCard, infos: Sequence[ImageInfo], split_of: Mapping[str, str]
) -> DataCard:
    """The data card of the same images in other splits.

    Every split counts every class, if with no image.
    """
    counts = {split: dict.fromkeys(card.labels, 0) for split in keys.SPLITS}
    for info in infos:
        if split := split_of.get(info.id):
            counts[split][info.label] += 1
    return DataCard(card.images_dir, card.fingerprint, counts, weighted=card.weighted)
