"""List, check, place and write images with Beam, in bounded memory.

Two passes over the files, so that only names, hashes and thumbnails are ever grouped: a runner
that keeps its groups in memory, as Beam's DirectRunner does, never holds the images.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import replace

import apache_beam as beam

from components.image_example_gen import earlier_splits
from components.image_example_gen.checking import (
    REJECTED,
    SKETCHED,
    CheckFile,
    Limits,
    ListFiles,
)
from components.image_example_gen.checks import check_card
from components.image_example_gen.grouping import Sketched
from components.image_example_gen.placed import Placement
from components.image_example_gen.placement import place
from components.image_example_gen.rejected import (
    count_reasons,
    shard_of_rejected,
    write_rejected,
)
from components.image_example_gen.shards import WriteShard
from components.image_example_gen.sources.entry import Source
from components.image_example_gen.sources.find import find_source
from components.image_example_gen.sources.tfrecord import USUAL_KEYS, RecordKeys
from components.image_example_gen.splitting import shard_of
from components.image_example_gen.summaries import make_card, write_placement, write_summary
from trainer.data.card import DataCard, write_card
from trainer.data.rules import SplitRule
from trainer.process import progress
from trainer.specs import AS_IN_THE_RECIPE, ImageReading

_IMAGES_PER_SHARD = 1024


def write_examples(
    pipeline: beam.Pipeline,
    images_dir: str,
    uri: str,
    rule: SplitRule,
    limits: Limits,
    reading: ImageReading = AS_IN_THE_RECIPE,
    work_dir: str | None = None,
    record_keys: RecordKeys = USUAL_KEYS,
) -> DataCard:
    """Turns a source of images into examples.

    Args:
      pipeline: not yet run; it is run here.
      images_dir: a folder of class folders, a manifest, an archive or TFRecords.
      uri: gets `Split-<name>/` folders of gzipped TFRecords, `set_aside/` and the card.
        The files' names and contents depend on the images alone, not on the runner.
      rule: how the images are divided.
      limits: files beyond them are rejected.
      reading: how files are read that have to be re-encoded.
      work_dir: local folder that archives are unpacked into meanwhile; None: that of the system.
      record_keys: names of the features of TFRecords.

    Raises:
      UnusableDataset: on fewer than two classes, an empty class, or a split or class
        left without images.
    """
    earlier = earlier_splits.find_earlier(uri, rule)
    with tempfile.TemporaryDirectory(prefix="thaw-images-", dir=work_dir) as folder:
        source = find_source(images_dir, folder, limits.max_file_bytes, record_keys)
        _write_splits(pipeline, source, uri, rule, limits, reading, earlier)
    rejected = count_reasons(uri)
    card = make_card(images_dir, uri, rejected, rule, earlier or "")
    check_card(card, rejected, rule)
    write_card(card, uri)
    return card


def _write_splits(
    pipeline: beam.Pipeline,
    source: Source,
    uri: str,
    rule: SplitRule,
    limits: Limits,
    reading: ImageReading,
    earlier: str | None,
) -> None:
    num_files = source.check()
    num_shards = max(1, num_files // _IMAGES_PER_SHARD)
    checked_files = progress.Counter("files checked", num_files)
    written_files = progress.Counter("files written", num_files)
    with pipeline as p:
        listed = (
            p
            | "List" >> beam.Create([source])
            | "Files" >> beam.ParDo(ListFiles()).with_outputs(REJECTED, main="files")
        )
        checked = (
            listed.files
            | "Spread" >> beam.Reshuffle()
            | "Check"
            >> beam.ParDo(
                CheckFile(limits, reading, rule.near_duplicates != "ignore", checked_files)
            ).with_outputs(REJECTED, SKETCHED, main="images")
        )
        placed = (
            checked[SKETCHED]
            # One group of all: what belongs together is known only when all are.
            | "Together" >> beam.Map(lambda sketched: (None, sketched))
            | "GroupAll" >> beam.GroupByKey()
            | "Place" >> beam.Map(lambda group: _place(group[1], rule, uri, earlier))
        )
        placement = beam.pvalue.AsSingleton(placed, default_value=Placement())
        written = (
            checked.images
            | "ByShard" >> beam.Map(lambda image: (shard_of(image, num_shards), image))
            | "Group" >> beam.GroupByKey()
            | "Write"
            >> beam.ParDo(
                WriteShard(uri, rule.parts, num_shards, limits, reading, written_files), placement
            ).with_outputs(REJECTED, main="counted")
        )
        _ = (
            (listed[REJECTED], checked[REJECTED], written[REJECTED])
            | "Rejected" >> beam.Flatten()
            | "RejectedByShard" >> beam.Map(lambda e: (shard_of_rejected(e, num_shards), e))
            | "GroupRejected" >> beam.GroupByKey()
            | "WriteRejected" >> beam.Map(lambda group: write_rejected(uri, num_shards, *group))
        )
        _ = written.counted | "WriteSummaries" >> beam.Map(write_summary, uri)


def _place(
    sketched: Iterable[Sketched], rule: SplitRule, uri: str, earlier: str | None
) -> Placement:
    placement = place(sketched, rule, earlier_splits.read_splits(earlier) if earlier else None)
    earlier_splits.write_splits(placement.splits, uri)
    write_placement(placement, uri)
    # Every worker gets this.
    return replace(placement, splits={}, near_duplicates=[])
