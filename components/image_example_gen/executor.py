"""The work: list, check, split and write images with Beam, in bounded memory.

Two passes over the files, so that only names and hashes are ever grouped: a runner that
keeps its groups in memory, as Beam's DirectRunner does, never holds the images.
"""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import tensorflow as tf
from google.protobuf import struct_pb2
from tfx import types
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.image_example_gen.checks import check_card
from components.image_example_gen.inspect import ImageRejected, inspect_image, reencode
from components.image_example_gen.reading import read_file
from components.image_example_gen.rejected import (
    count_reasons,
    shard_of_rejected,
    write_rejected,
)
from components.image_example_gen.sources.entry import Entry, Rejected, Source, reject
from components.image_example_gen.sources.find import find_source, is_unpacked
from components.image_example_gen.sources.tfrecord import USUAL_KEYS, RecordKeys
from components.image_example_gen.splitting import (
    ImageFile,
    fingerprint,
    group_copies,
    shard_of,
    split_for,
)
from components.image_example_gen.summaries import ShardSummary, make_card, write_summary
from trainer import keys, records
from trainer.data.card import DataCard, write_card
from trainer.data.labels import is_utf8
from trainer.process import progress
from trainer.records import to_json
from trainer.specs import AS_IN_THE_RECIPE, ImageReading, from_json
from trainer.store.uris import is_remote

_REJECTED = "rejected"
_A_COPY = "a copy of another file of its class"
_IMAGES_PER_SHARD = 1024
# Gzip is the one format that TFX's own nodes take. Image files are compressed already: to
# deflate them again took more than half of this node's time on large photographs.
_STORED = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=0)


# Keys beside the limits: how files are re-encoded, the features of records as JSON, and one that
# only the cache reads.
COLOUR_PROFILES = "colour_profiles"
RECORD_KEYS = "record_keys"
VERSION = "thaw_version"


@dataclass(frozen=True)
class Limits:
    """Files beyond these are rejected: pixels before decoding, bytes before reading."""

    max_pixels: int
    max_file_bytes: int


class Executor(BaseExampleGenExecutor):
    """Writes the splits, the data card and the list of rejected files."""

    def GetInputSourceToExamplePTransform(self) -> beam.PTransform:
        """Not used: grouping by content needs more than one transform."""
        raise NotImplementedError("ImageExampleGen writes its splits itself.")

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpacks TFX's arguments; see `write_examples`."""
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.EXAMPLES_KEY]
        )
        artifact.split_names = artifact_utils.encode_split_names(list(keys.SPLITS))
        images_dir = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        write_examples(
            self._make_beam_pipeline(),
            images_dir,
            artifact.uri,
            _splits(exec_properties[standard_component_specs.OUTPUT_CONFIG_KEY]),
            _limits(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY]),
            _reading(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY]),
            self._work_dir(images_dir),
            _record_keys(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY]),
        )
        examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(artifact, "tfrecords_gzip")

    def _work_dir(self, images_dir: str) -> str | None:
        """Where archives and records are unpacked: on the artifacts' disk, if that is local."""
        if not is_unpacked(images_dir):
            return None
        folder = self._get_tmp_dir()
        return None if is_remote(folder) else folder


def _splits(output_config: str) -> dict[str, int]:
    output = example_gen_pb2.Output()
    proto_utils.json_to_proto(output_config, output)
    return {split.name: split.hash_buckets for split in output.split_config.splits}


def _limits(custom_config: str) -> Limits:
    config = _unpack(custom_config)
    return Limits(int(config["max_pixels"]), int(config["max_file_bytes"]))


def _reading(custom_config: str) -> ImageReading:
    """What of it matters here: shape and background are the graph's."""
    profiles = str(_unpack(custom_config).get(COLOUR_PROFILES, "convert"))
    return from_json(ImageReading, {**to_json(AS_IN_THE_RECIPE), COLOUR_PROFILES: profiles})


def _record_keys(custom_config: str) -> RecordKeys:
    text = _unpack(custom_config).get(RECORD_KEYS)
    return records.read(RecordKeys, str(text), RECORD_KEYS) if text else USUAL_KEYS


def _unpack(custom_config: str) -> dict[str, float | str]:
    packed = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(custom_config, packed)
    config = struct_pb2.Struct()
    packed.custom_config.Unpack(config)
    return dict(config.items())


def write_examples(
    pipeline: beam.Pipeline,
    images_dir: str,
    uri: str,
    splits: dict[str, int],
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
      splits: split name -> parts.
      limits: files beyond them are rejected.
      reading: how files are read that have to be re-encoded.
      work_dir: local folder that archives are unpacked into meanwhile; None: that of the system.
      record_keys: names of the features of TFRecords.

    Raises:
      UnusableDataset: on fewer than two classes, an empty class, or a split or class
        left without images.
    """
    with tempfile.TemporaryDirectory(prefix="thaw-images-", dir=work_dir) as folder:
        source = find_source(images_dir, folder, limits.max_file_bytes, record_keys)
        _write_splits(pipeline, source, uri, splits, limits, reading)
    rejected = count_reasons(uri)
    card = make_card(images_dir, uri, rejected)
    check_card(card, rejected, splits)
    write_card(card, uri)
    return card


def _write_splits(
    pipeline: beam.Pipeline,
    source: Source,
    uri: str,
    splits: dict[str, int],
    limits: Limits,
    reading: ImageReading,
) -> None:
    num_files = source.check()
    num_shards = max(1, num_files // _IMAGES_PER_SHARD)
    checked_files = progress.Counter("files checked", num_files)
    written_files = progress.Counter("files written", num_files)
    with pipeline as p:
        listed = (
            p
            | "List" >> beam.Create([source])
            | "Files" >> beam.ParDo(_List()).with_outputs(_REJECTED, main="files")
        )
        checked = (
            listed.files
            | "Spread" >> beam.Reshuffle()
            | "Check"
            >> beam.ParDo(_Check(limits, reading, checked_files)).with_outputs(
                _REJECTED, main="images"
            )
        )
        written = (
            checked.images
            | "ByShard" >> beam.Map(lambda image: (shard_of(image, num_shards), image))
            | "Group" >> beam.GroupByKey()
            | "Write"
            >> beam.ParDo(
                _WriteShard(uri, splits, num_shards, limits, reading, written_files)
            ).with_outputs(_REJECTED, main="counted")
        )
        _ = (
            (listed[_REJECTED], checked[_REJECTED], written[_REJECTED])
            | "Rejected" >> beam.Flatten()
            | "RejectedByShard" >> beam.Map(lambda e: (shard_of_rejected(e, num_shards), e))
            | "GroupRejected" >> beam.GroupByKey()
            | "WriteRejected" >> beam.Map(lambda group: write_rejected(uri, num_shards, *group))
        )
        _ = written.counted | "WriteSummaries" >> beam.Map(write_summary, uri)


def _reject(path: str, reason: object, label: str) -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput(_REJECTED, reject(path, reason, label))


class _List(beam.DoFn):
    """A source to an `Entry` for each file. Beam and TensorFlow take no paths but UTF-8."""

    def process(self, source: Source) -> Iterator[Any]:
        for entry in source.entries():
            if isinstance(entry, Rejected):
                yield beam.pvalue.TaggedOutput(_REJECTED, entry)
            elif is_utf8(entry.path):
                yield entry
            else:
                yield _reject(entry.path, "the file name is not UTF-8: rename it", entry.label)


class _Check(beam.DoFn):
    """`Entry` to `ImageFile`, or rejected."""

    def __init__(self, limits: Limits, reading: ImageReading, counter: progress.Counter) -> None:
        self._limits = limits
        self._reading = reading
        self._counter = counter

    def process(self, entry: Entry) -> Iterator[Any]:
        self._counter.add()
        try:
            content = read_file(entry.stored_at or entry.path, self._limits.max_file_bytes)
            found = inspect_image(entry.path, content, self._limits.max_pixels, self._reading)
        except ImageRejected as reason:
            yield _reject(entry.path, reason, entry.label)
            return
        yield ImageFile(**vars(entry), **vars(found))


class _WriteShard(beam.DoFn):
    """Writes one file in each split; yields their summaries, and what is in none as rejected."""

    def __init__(
        self,
        uri: str,
        splits: Mapping[str, int],
        num_shards: int,
        limits: Limits,
        reading: ImageReading,
        counter: progress.Counter,
    ) -> None:
        self._uri = uri
        self._splits = splits
        self._num_shards = num_shards
        self._limits = limits
        self._reading = reading
        self._counter = counter

    def process(self, element: tuple[int, Iterable[ImageFile]]) -> Iterator[Any]:
        shard, images = element
        ordered = sorted(images)
        self._counter.add(len(ordered))
        groups, rejected = group_copies(ordered)
        written: dict[str, list[ImageFile]] = {}
        with ExitStack() as files:
            writers: dict[str, tf.io.TFRecordWriter] = {}
            for copies in groups:
                image, content, others = self._read_one(copies)
                rejected += others
                if not image:
                    continue
                split = split_for(image, self._splits)
                if split not in writers:
                    writers[split] = files.enter_context(self._open(split, shard))
                example = _example(image, content).SerializeToString(deterministic=True)
                writers[split].write(example)
                written.setdefault(split, []).append(image)
        yield from (_reject(image.path, reason, image.label) for image, reason in rejected)
        for split, kept in written.items():
            yield _summarize(split, shard, kept)

    def _open(self, split: str, shard: int) -> tf.io.TFRecordWriter:
        folder = os.path.join(self._uri, keys.split_folder(split))
        tf.io.gfile.makedirs(folder)
        name = f"images-{shard:05d}-of-{self._num_shards:05d}.gz"
        return tf.io.TFRecordWriter(os.path.join(folder, name), _STORED)

    def _read_one(
        self, copies: Sequence[ImageFile]
    ) -> tuple[ImageFile | None, bytes, list[tuple[ImageFile, str]]]:
        """The first file that is still as it was checked; the others, each with the reason."""
        rejected = []
        for index, image in enumerate(copies):
            try:
                content = _read_unchanged(image, self._limits.max_file_bytes)
                if image.is_transcoded:
                    content = reencode(content, self._limits.max_pixels, self._reading)
            except ImageRejected as reason:
                rejected.append((image, str(reason)))
                continue
            rejected += [(other, _A_COPY) for other in copies[index + 1 :]]
            return image, content, rejected
        return None, b"", rejected


def _summarize(split: str, shard: int, images: Sequence[ImageFile]) -> ShardSummary:
    return ShardSummary(
        split,
        shard,
        dict(Counter(image.label for image in images)),
        fingerprint(images),
        dict(Counter(image.format_name for image in images)),
        dict(Counter(image.format_name for image in images if image.is_transcoded)),
    )


def _read_unchanged(image: ImageFile, max_bytes: int) -> bytes:
    """Reads a file once more; another content would belong to another split, unchecked."""
    content = read_file(image.stored_at or image.path, max_bytes)
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise ImageRejected("changed while the images were being read")
    return content


def _example(image: ImageFile, content: bytes) -> tf.train.Example:
    values = {
        keys.IMAGE_BYTES: content,
        keys.LABEL: image.label.encode(),
        keys.ID: image.sha256.encode(),
        keys.PATH: image.path.encode(),
    }
    sizes = {keys.HEIGHT: image.height_px, keys.WIDTH: image.width_px}
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                **{
                    name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                    for name, value in values.items()
                },
                **{
                    name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                    for name, value in sizes.items()
                },
            }
        )
    )
