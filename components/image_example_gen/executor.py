"""The work: list, check, split and write images with Beam, in bounded memory.

Two passes over the files, so that only names and hashes are ever grouped: a runner that
keeps its groups in memory, as Beam's DirectRunner does, never holds the images.
"""

import bisect
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from google.protobuf import struct_pb2
from tfx import types
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.components.util import examples_utils
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.image_example_gen.folder import (
    UnusableImages,
    check_card,
    check_folder,
    list_files,
)
from components.image_example_gen.inspect import Unusable, inspect_image
from trainer import features, progress
from trainer.data_card import DataCard, write_card

SET_ASIDE_FOLDER = "set_aside"

_SET_ASIDE = "set_aside"
_IMAGES_PER_SHARD = 1024
# Gzip is the one format that TFX's own nodes take. Image files are compressed already: to
# deflate them again took more than half of this node's time on large photographs.
_STORED = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=0)


@dataclass(frozen=True)
class Limits:
    """Files beyond these are set aside: pixels before decoding, bytes before reading."""

    max_pixels: int
    max_file_bytes: int


@dataclass(frozen=True, order=True)
class ImageFile:
    """A checked image. Orders by content, then by path."""

    sha256: str
    path: str
    label: str
    height_px: int
    width_px: int


class Executor(BaseExampleGenExecutor):
    """Writes the splits, the data card and the list of files that were set aside."""

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
        artifact.split_names = artifact_utils.encode_split_names(list(features.SPLITS))
        images_dir = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        write_examples(
            self._make_beam_pipeline(),
            images_dir,
            artifact.uri,
            _splits(exec_properties),
            _limits(exec_properties),
        )
        examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(artifact, "tfrecords_gzip")


def _splits(exec_properties: dict[str, Any]) -> dict[str, int]:
    output = example_gen_pb2.Output()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.OUTPUT_CONFIG_KEY], output)
    return {split.name: split.hash_buckets for split in output.split_config.splits}


def _limits(exec_properties: dict[str, Any]) -> Limits:
    packed = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], packed)
    config = struct_pb2.Struct()
    packed.custom_config.Unpack(config)
    return Limits(**{name: int(value) for name, value in config.items()})


def write_examples(
    pipeline: beam.Pipeline, images_dir: str, uri: str, splits: dict[str, int], limits: Limits
) -> DataCard:
    """Turns a folder of class folders into examples.

    Args:
      pipeline: not yet run; it is run here.
      images_dir: holds one folder a class.
      uri: gets `Split-<name>/` folders of gzipped TFRecords, `set_aside/` and the card.
        The files' names and contents depend on the images alone, not on the runner.
      splits: split name -> parts.
      limits: files beyond them are set aside.

    Raises:
      UnusableImages: on fewer than two classes, an empty class, or a split or class
        left without images.
    """
    num_files = check_folder(images_dir)
    num_shards = max(1, num_files // _IMAGES_PER_SHARD)
    counter = progress.Counter("files", 2 * num_files)
    with pipeline as p:
        checked = (
            p
            | "List" >> beam.Create([images_dir])
            | "Files" >> beam.FlatMap(list_files)
            | "Spread" >> beam.Reshuffle()
            | "Check" >> beam.ParDo(_Check(limits, counter)).with_outputs(_SET_ASIDE, main="images")
        )
        written = (
            checked.images
            | "ByShard" >> beam.Map(lambda image: (shard_of(image, splits, num_shards), image))
            | "Group" >> beam.GroupByKey()
            | "Write"
            >> beam.ParDo(_WriteShard(uri, num_shards, counter)).with_outputs(
                _SET_ASIDE, main="counted"
            )
        )
        _ = (
            (checked[_SET_ASIDE], written[_SET_ASIDE])
            | "SetAside" >> beam.Flatten()
            | "SetAsideByShard"
            >> beam.Map(lambda entry: (_shard_of_path(entry, num_shards), entry))
            | "GroupSetAside" >> beam.GroupByKey()
            | "WriteSetAside" >> beam.Map(lambda group: _write_set_aside(uri, num_shards, *group))
        )
        _ = (
            written.counted
            | "Summaries" >> beam.Map(json.dumps)
            | "WriteSummaries"
            >> beam.io.WriteToText(os.path.join(uri, "shards", "shard"), file_name_suffix=".jsonl")
        )
    card = _make_card(images_dir, uri)
    check_card(card)
    write_card(card, uri)
    return card


def _set_aside(path: str, reason: str) -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput(_SET_ASIDE, {"path": path, "reason": reason})


def _shard_of_path(entry: dict[str, str], num_shards: int) -> int:
    return int(hashlib.sha256(entry["path"].encode()).hexdigest(), 16) % num_shards


def _write_set_aside(
    uri: str, num_shards: int, shard: int, entries: Iterable[dict[str, str]]
) -> None:
    """Writes one file of the list, by path: `WriteToText` leaves the order to the runner."""
    path = os.path.join(uri, SET_ASIDE_FOLDER, f"files-{shard:05d}-of-{num_shards:05d}.jsonl")
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        for entry in sorted(entries, key=lambda entry: entry["path"]):
            file.write(json.dumps(entry) + "\n")


class _Check(beam.DoFn):
    """(label, path) to ImageFile, or set aside."""

    def __init__(self, limits: Limits, counter: progress.Counter) -> None:
        self._limits = limits
        self._counter = counter

    def process(self, element: tuple[str, str]) -> Iterator[Any]:
        label, path = element
        self._counter.add()
        try:
            found = inspect_image(path, self._read(path), self._limits.max_pixels)
        except Unusable as reason:
            yield _set_aside(path, str(reason))
            return
        yield ImageFile(found.sha256, path, label, found.height_px, found.width_px)

    def _read(self, path: str) -> bytes:
        try:
            if fileio.isdir(path):
                raise Unusable("a folder inside a class folder")
            with FileSystems.open(path, "application/octet-stream", "uncompressed") as file:
                content = file.read(self._limits.max_file_bytes + 1)
        except OSError as error:
            raise Unusable("the file cannot be read") from error
        if len(content) > self._limits.max_file_bytes:
            raise Unusable(f"larger than {self._limits.max_file_bytes:,} bytes")
        return content


def split_of(sha256: str, splits: dict[str, int]) -> str:
    """Chooses a file's split by its content: the same bytes always land in the same one."""
    borders = list(itertools.accumulate(splits.values()))
    # Not the hash itself: its low digits choose the shard.
    key = hashlib.sha256(sha256.encode()).hexdigest()
    return list(splits)[bisect.bisect(borders, int(key, 16) % borders[-1])]


def shard_of(image: ImageFile, splits: dict[str, int], num_shards: int) -> tuple[str, int]:
    """The output file an image belongs to: its split, and a number below `num_shards`."""
    return split_of(image.sha256, splits), int(image.sha256, 16) % num_shards


class _WriteShard(beam.DoFn):
    """Writes one output file; yields its summary, and duplicates as set aside."""

    def __init__(self, uri: str, num_shards: int, counter: progress.Counter) -> None:
        self._uri = uri
        self._num_shards = num_shards
        self._counter = counter

    def process(self, element: tuple[tuple[str, int], Iterable[ImageFile]]) -> Iterator[Any]:
        (split, shard), images = element
        ordered = sorted(images)
        self._counter.add(len(ordered))
        chosen, aside = choose_unique(ordered)
        yield from (_set_aside(path, reason) for path, reason in aside)
        folder = os.path.join(self._uri, f"Split-{split}")
        tf.io.gfile.makedirs(folder)
        path = os.path.join(folder, f"images-{shard:05d}-of-{self._num_shards:05d}.gz")
        with tf.io.TFRecordWriter(path, _STORED) as writer:
            for image in chosen:
                writer.write(_example(image).SerializeToString(deterministic=True))
        yield {
            "split": split,
            "counts": Counter(image.label for image in chosen),
            "fingerprint": fingerprint(chosen),
        }


def choose_unique(
    images: Sequence[ImageFile],
) -> tuple[list[ImageFile], list[tuple[str, str]]]:
    """Keeps one file of each content.

    Args:
      images: sorted, so that the same bytes stand together.

    Returns:
      The files to keep, and (path, reason) of the others: copies within a class, and
      every file whose bytes stand in several classes, for nobody knows which is right.
    """
    chosen, aside = [], []
    for _, group in itertools.groupby(images, key=lambda image: image.sha256):
        same = list(group)
        labels = sorted({image.label for image in same})
        if len(labels) > 1:
            reason = "the same image stands in several classes"
            aside += [(image.path, reason) for image in same]
            continue
        chosen.append(same[0])
        aside += [(image.path, "a copy of another file of its class") for image in same[1:]]
    return chosen, aside


def fingerprint(images: Iterable[ImageFile]) -> str:
    """64 hexadecimal digits that depend on the set of (content, label) pairs alone.

    The exclusive or of a hash for each, so that parts combine in any order.
    """
    digest = 0
    for image in images:
        pair = f"{image.sha256}\n{image.label}".encode()
        digest ^= int(hashlib.sha256(pair).hexdigest(), 16)
    return f"{digest:064x}"


def _example(image: ImageFile) -> tf.train.Example:
    with FileSystems.open(image.path, "application/octet-stream", "uncompressed") as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise UnusableImages(f"{image.path} changed while it was being read. Run again.")
    values = {
        features.IMAGE_BYTES: content,
        features.LABEL: image.label.encode(),
        features.ID: image.sha256.encode(),
        features.PATH: image.path.encode(),
    }
    sizes = {features.HEIGHT: image.height_px, features.WIDTH: image.width_px}
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


def _read_lines(pattern: str) -> Iterator[dict[str, Any]]:
    for path in sorted(tf.io.gfile.glob(pattern)):
        with tf.io.gfile.GFile(path) as file:
            for line in file:
                yield json.loads(line)


def _make_card(images_dir: str, uri: str) -> DataCard:
    """Sums up what the shards reported."""
    counts: dict[str, Counter[str]] = {split: Counter() for split in features.SPLITS}
    digest = 0
    for shard in _read_lines(os.path.join(uri, "shards", "*.jsonl")):
        counts[shard["split"]].update(shard["counts"])
        digest ^= int(shard["fingerprint"], 16)
    tf.io.gfile.rmtree(os.path.join(uri, "shards"))
    reasons = Counter(
        entry["reason"] for entry in _read_lines(os.path.join(uri, SET_ASIDE_FOLDER, "*.jsonl"))
    )
    return DataCard(
        images_dir=images_dir,
        fingerprint=f"{digest:064x}",
        counts={split: dict(sorted(found.items())) for split, found in counts.items()},
        set_aside=dict(sorted(reasons.items())),
    )
