"""What the output files hold, from which the data card is summed up."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf

from components.image_example_gen.placed import NearDuplicates, Placement
from trainer import keys, records
from trainer.data.card import DataCard, NearDuplicateCounts
from trainer.data.rules import SplitRule
from trainer.records import Record
from trainer.remote_files import read_record, write_record

NEAR_DUPLICATES_FILE = "near_duplicates.jsonl"
_SUMMARIES_FOLDER = "shards"
_SMALL_CLASSES_FILE = "small_classes.json"


@dataclass(frozen=True)
class _SmallClasses(Record):
    """Class name -> number of images, of classes that some split has no image of."""

    classes: dict[str, int]


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
      weighted: whether some images count more or less than others.
    """

    split: str
    shard: int
    counts: dict[str, int]
    fingerprint: str
    formats: dict[str, int]
    transcoded: dict[str, int]
    weighted: bool


def write_summary(summary: ShardSummary, uri: str) -> None:
    """Writes a summary below the examples, until `make_card` takes it."""
    folder = os.path.join(uri, _SUMMARIES_FOLDER)
    tf.io.gfile.makedirs(folder)
    name = f"{summary.split}-{summary.shard:05d}.json"
    write_record(summary, os.path.join(folder, name))


def _take_summaries(uri: str) -> Iterator[ShardSummary]:
    """What the shards reported; deletes it. Nothing if no image was usable."""
    folder = os.path.join(uri, _SUMMARIES_FOLDER)
    if not tf.io.gfile.isdir(folder):
        return
    for name in tf.io.gfile.listdir(folder):
        path = os.path.join(folder, name)
        yield read_record(ShardSummary, path)
    tf.io.gfile.rmtree(folder)


def write_placement(placement: Placement, uri: str) -> None:
    """Lists the near-duplicates below the examples, and sums up for `make_card`."""
    tf.io.gfile.makedirs(uri)
    with tf.io.gfile.GFile(os.path.join(uri, NEAR_DUPLICATES_FILE), "w") as file:
        for group in placement.near_duplicates:
            file.write(records.dumps(group) + "\n")
    write_record(_SmallClasses(placement.small_classes), os.path.join(uri, _SMALL_CLASSES_FILE))


def read_near_duplicates(uri: str) -> Iterator[NearDuplicates]:
    """Yields the groups of near-duplicates of an examples folder.

    Raises:
      ThawError: if a line is not that of a group.
    """
    path = os.path.join(uri, NEAR_DUPLICATES_FILE)
    if not tf.io.gfile.exists(path):
        return
    with tf.io.gfile.GFile(path) as file:
        for line in file:
            yield records.read(NearDuplicates, line, path)


def _count_near_duplicates(uri: str) -> NearDuplicateCounts:
    sizes, conflicting, divided = [], 0, 0
    for group in read_near_duplicates(uri):
        sizes.append(len(group.paths))
        conflicting += group.is_conflicting
        divided += group.is_divided
    return NearDuplicateCounts(len(sizes), sum(sizes), max(sizes, default=0), conflicting, divided)


def _take_small_classes(uri: str) -> dict[str, int]:
    path = os.path.join(uri, _SMALL_CLASSES_FILE)
    if not tf.io.gfile.exists(path):
        return {}
    small = read_record(_SmallClasses, path).classes
    tf.io.gfile.remove(path)
    return small


def make_card(
    images_dir: str,
    uri: str,
    rejected: dict[str, Counter[str]],
    rule: SplitRule,
    kept_from: str = "",
) -> DataCard:
    """Sums up what the shards reported, and what was decided about all images.

    Args:
      images_dir: where the images came from.
      uri: folder of the examples.
      rejected: class -> reason -> number of files that were left out.
      rule: how the images were divided.
      kept_from: folder of the earlier examples that decided places; empty: none.
    """
    counts: dict[str, Counter[str]] = {split: Counter() for split in keys.SPLITS}
    formats, transcoded, digest, weighted = Counter[str](), Counter[str](), 0, False
    for summary in _take_summaries(uri):
        formats.update(summary.formats)
        transcoded.update(summary.transcoded)
        counts[summary.split].update(summary.counts)
        digest ^= int(summary.fingerprint, 16)
        weighted |= summary.weighted
    return DataCard(
        images_dir=images_dir,
        fingerprint=f"{digest:064x}",
        counts={split: dict(sorted(found.items())) for split, found in counts.items()},
        set_aside=dict(sorted(sum(rejected.values(), Counter[str]()).items())),
        formats=dict(sorted(formats.items())),
        transcoded=dict(sorted(transcoded.items())),
        split_rule=rule,
        splits_kept_from=kept_from,
        small_classes=_take_small_classes(uri),
        near_duplicates=_count_near_duplicates(uri),
        weighted=weighted,
    )
