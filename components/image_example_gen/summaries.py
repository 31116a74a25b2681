"""What the output files hold, from which the data card is summed up."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf

from trainer import keys, records
from trainer.data.card import DataCard
from trainer.records import Record

_SUMMARIES_FOLDER = "shards"


@dataclass(frozen=True)
class ShardSummary(Record):
    """What one output file holds.

    Attributes:
      split: that it belongs to.
      shard: its number in the split.
      counts: class name -> number of images.
      fingerprint: of its images.
      formats: format -> number of images whose files were in it.
      transcoded: format -> number of those that were re-encoded.
    """

    split: str
    shard: int
    counts: dict[str, int]
    fingerprint: str
    formats: dict[str, int]
    transcoded: dict[str, int]


def write_summary(summary: ShardSummary, uri: str) -> None:
    """Writes a summary below the examples, until `make_card` takes it."""
    folder = os.path.join(uri, _SUMMARIES_FOLDER)
    tf.io.gfile.makedirs(folder)
    name = f"{summary.split}-{summary.shard:05d}.json"
    with tf.io.gfile.GFile(os.path.join(folder, name), "w") as file:
        file.write(records.dumps(summary))


def _take_summaries(uri: str) -> Iterator[ShardSummary]:
    """What the shards reported; deletes it. Nothing if no image was usable."""
    folder = os.path.join(uri, _SUMMARIES_FOLDER)
    if not tf.io.gfile.isdir(folder):
        return
    for name in tf.io.gfile.listdir(folder):
        path = os.path.join(folder, name)
        with tf.io.gfile.GFile(path) as file:
            yield records.read(ShardSummary, file.read(), path)
    tf.io.gfile.rmtree(folder)


def make_card(images_dir: str, uri: str, rejected: dict[str, Counter[str]]) -> DataCard:
    """Sums up what the shards reported."""
    counts: dict[str, Counter[str]] = {split: Counter() for split in keys.SPLITS}
    formats, transcoded, digest = Counter[str](), Counter[str](), 0
    for summary in _take_summaries(uri):
        formats.update(summary.formats)
        transcoded.update(summary.transcoded)
        counts[summary.split].update(summary.counts)
        digest ^= int(summary.fingerprint, 16)
    return DataCard(
        images_dir=images_dir,
        fingerprint=f"{digest:064x}",
        counts={split: dict(sorted(found.items())) for split, found in counts.items()},
        set_aside=dict(sorted(sum(rejected.values(), Counter[str]()).items())),
        formats=dict(sorted(formats.items())),
        transcoded=dict(sorted(transcoded.items())),
    )
