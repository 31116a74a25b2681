"""The list of files that were left out, written beside the examples: each with its reason."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import tensorflow as tf

from components.image_example_gen.sources.entry import Rejected
from trainer import records
from trainer.data.labels import printable

SET_ASIDE_FOLDER = "set_aside"


def shard_of_rejected(entry: Rejected, num_shards: int) -> int:
    """The file of the list that an entry belongs to, below `num_shards`."""
    return int(hashlib.sha256(entry.path.encode()).hexdigest(), 16) % num_shards


def write_rejected(uri: str, num_shards: int, shard: int, entries: Iterable[Rejected]) -> None:
    """Writes one file of the list, by path: `WriteToText` leaves the order to the runner."""
    path = os.path.join(uri, SET_ASIDE_FOLDER, f"files-{shard:05d}-of-{num_shards:05d}.jsonl")
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        for entry in sorted(entries):
            file.write(records.dumps(entry) + "\n")


def count_reasons(uri: str) -> dict[str, Counter[str]]:
    """Counts the list: class -> reason -> number of files."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in read_rejected(uri):
        counts[entry.label][entry.reason] += 1
    return dict(counts)


def read_rejected(uri: str) -> Iterator[Rejected]:
    """Yields the entries of the list of an examples folder, file by file.

    Raises:
      ThawError: if a line is not that of an entry.
    """
    folder = os.path.join(uri, SET_ASIDE_FOLDER)
    # Not by a pattern: one with the folder's name in it would be another if that has a [.
    names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    for name in sorted(names):
        path = os.path.join(folder, name)
        with tf.io.gfile.GFile(path) as file:
            for line in file:
                yield records.read(Rejected, line, path)


def commonest(reasons: Counter[str], most: int) -> str:
    """The commonest reasons with their counts, such as `2 × the file is empty; 1 × …`."""
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{count} × {printable(reason)}" for reason, count in ranked[:most])
