"""Writes examples, one file a split from the images of one shard."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import apache_beam as beam
import tensorflow as tf

from components.image_example_gen.checking import Limits, rejected_output
from components.image_example_gen.inspect import ImageRejected, reencode
from components.image_example_gen.placed import Placement
from components.image_example_gen.reading import read_file
from components.image_example_gen.splitting import ImageFile, fingerprint, group_copies, split_for
from components.image_example_gen.summaries import ShardSummary
from trainer import keys
from trainer.process import progress
from trainer.specs import ImageReading

_A_COPY = "a copy of another file of its class"
# Gzip is the one format that TFX's own nodes take. Image files are compressed already: to
# deflate them again took more than half of this node's time on large photographs.
_STORED = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=0)


class WriteShard(beam.DoFn):
    """Writes one file in each split; yields their summaries, and what is in none as rejected."""

    def __init__(
        self,
        uri: str,
        parts: Mapping[str, int],
        num_shards: int,
        limits: Limits,
        reading: ImageReading,
        counter: progress.Counter,
    ) -> None:
        self._uri = uri
        self._parts = parts
        self._num_shards = num_shards
        self._limits = limits
        self._reading = reading
        self._counter = counter

    def process(
        self, element: tuple[int, Iterable[ImageFile]], placement: Placement
    ) -> Iterator[Any]:
        """Yields the summary of each file, and what is rejected after all."""
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
                split = placement.moved.get(image.sha256) or split_for(image, self._parts)
                image = replace(image, label=placement.folded.get(image.label, image.label))
                if split not in writers:
                    writers[split] = files.enter_context(self._open(split, shard))
                example = _example(image, content, placement.groups.get(image.sha256, ""))
                writers[split].write(example.SerializeToString(deterministic=True))
                written.setdefault(split, []).append(image)
        yield from (rejected_output(image.path, reason, image.label) for image, reason in rejected)
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
        any(image.weight != 1.0 for image in images),
    )


def _read_unchanged(image: ImageFile, max_bytes: int) -> bytes:
    """Reads a file once more; another content would belong to another split, unchecked."""
    content = read_file(image.stored_at or image.path, max_bytes)
    if hashlib.sha256(content).hexdigest() != image.sha256:
        raise ImageRejected("changed while the images were being read")
    return content


def _example(image: ImageFile, content: bytes, group: str) -> tf.train.Example:
    values = {
        keys.IMAGE_BYTES: content,
        keys.LABEL: image.label.encode(),
        keys.ID: image.sha256.encode(),
        keys.PATH: image.path.encode(),
        keys.GROUP: group.encode(),
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
                keys.WEIGHT: tf.train.Feature(float_list=tf.train.FloatList(value=[image.weight])),
            }
        )
    )
