"""TFRecords of tf.train.Example, as other tools write them: one image and its class each.

Like archives they are unpacked into a folder of the node's own, so that ingestion checks and
lists their images as it does files.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from components.image_example_gen.sources.entry import (
    Entry,
    Rejected,
    UnusableDataset,
    read_list,
    reject,
)
from components.image_example_gen.sources.manifest import SPLITS, Manifest
from trainer import records
from trainer.data.labels import label_problem
from trainer.records import Record

if TYPE_CHECKING:  # the command line imports this file to recognize sources
    import tensorflow as tf

_NAMES = (".tfrecord", ".tfrecords", ".tfrec")
_INDEX = "images.jsonl"
_REJECTED = "rejected.jsonl"
_SIGNATURES = {b"\x89PNG": ".png", b"GIF8": ".gif", b"BM": ".bmp", b"RIFF": ".webp"}


@dataclass(frozen=True)
class RecordKeys(Record):
    """Names of the features that hold an image and what is known of it.

    Attributes:
      image: bytes of the encoded file.
      label: class name, as bytes or as a whole number.
      split: split that the image belongs to; may be absent.
      group: see `Entry`; may be absent.
    """

    image: str = "image/encoded"
    label: str = "image/class/text"
    split: str = "split"
    group: str = "group"


USUAL_KEYS = RecordKeys()
"""Those of TensorFlow's own ImageNet scripts."""


@dataclass(frozen=True)
class _IndexLine(Record):
    """A line of the manifest that the unpacked images get."""

    path: str
    label: str
    split: str
    group: str


def record_files(path: str) -> list[str]:
    """The files of records that a path names: one, or all in a folder that holds no folders."""
    if not os.path.isdir(path):
        return [path] if _is_record_file(path) else []
    found = sorted(os.scandir(path), key=lambda one: one.name)
    if any(one.is_dir() and not one.name.startswith(".") for one in found):
        return []
    return [one.path for one in found if _is_record_file(one.name)]


def _is_record_file(path: str) -> bool:
    name = os.path.basename(path).lower().removesuffix(".gz")
    stem, dash, shard = name.partition("-")
    # Shards are called `birds.tfrecord-00000-of-00010`, or `birds-00000-of-00010.tfrecord`.
    return name.endswith(_NAMES) or bool(dash and shard and stem.endswith(_NAMES))


@dataclass(frozen=True)
class TFRecords:
    """One or several files of records, gzipped if their names end in `.gz`.

    Attributes:
      paths: of the files.
      folder: where they are unpacked; empty: nowhere, to look at `files` alone.
      max_file_bytes: larger images are rejected.
      keys: names of the features.
    """

    paths: tuple[str, ...]
    folder: str
    max_file_bytes: int
    keys: RecordKeys = USUAL_KEYS

    def check(self) -> int:
        """Unpacks the records; otherwise as `Source.check`.

        Raises:
          UnusableDataset: also naming a file that is damaged, or in which no record has an image
            and a label under these keys.
        """
        os.makedirs(self.folder, exist_ok=True)
        names = set[str]()
        with (
            open(os.path.join(self.folder, _INDEX), "w", encoding="utf-8") as index,
            open(os.path.join(self.folder, _REJECTED), "w", encoding="utf-8") as rejected,
        ):
            number = 0
            for path in self.paths:
                for name, example in self._examples(path):
                    number += 1
                    found = self._unpack(name, example)
                    target = rejected if isinstance(found, Rejected) else index
                    target.write(records.dumps(found) + "\n")
                    names.update(example.features.feature)
        if not os.path.getsize(os.path.join(self.folder, _INDEX)):
            raise UnusableDataset(
                f"no record has an image in '{self.keys.image}' and a label in "
                f"'{self.keys.label}'. The features are {', '.join(sorted(names)) or 'none'}.",
                where=self.paths[0],
                to_do="Name the right ones: data.record_keys.image and data.record_keys.label.",
            )
        index_path = os.path.join(self.folder, _INDEX)
        try:
            Manifest(index_path).check()
        except UnusableDataset as error:
            what = error.what.replace(index_path, self.paths[0])
            raise UnusableDataset(what, to_do=error.to_do) from error
        return number

    def entries(self) -> Iterator[Entry | Rejected]:
        """See `Source.entries`; once `check` has unpacked them."""
        for entry in Manifest(os.path.join(self.folder, _INDEX)).entries():
            shown = os.path.relpath(entry.path, self.folder)
            known = os.path.join(os.path.dirname(self.paths[0]), shown)
            if isinstance(entry, Entry):
                yield replace(entry, path=known, stored_at=entry.path)
            else:
                yield replace(entry, path=known)
        yield from read_list(os.path.join(self.folder, _REJECTED))

    def files(self) -> Iterator[str]:
        """See `Source.files`."""
        yield from self.paths

    def _examples(self, path: str) -> Iterator[tuple[str, "tf.train.Example"]]:
        """(a name below the file's, example) of each record."""
        import tensorflow as tf

        dataset = tf.data.TFRecordDataset(path, "GZIP" if path.endswith(".gz") else "")
        try:
            for number, record in enumerate(dataset.as_numpy_iterator()):
                name = f"{os.path.basename(path)}/{number:08d}"
                yield name, tf.train.Example.FromString(record)
        except (tf.errors.DataLossError, ValueError) as error:
            raise UnusableDataset(
                "is damaged, or no TFRecord file of tf.train.Example.",
                where=path,
                to_do="Write or download it again.",
            ) from error

    def _unpack(self, name: str, example: "tf.train.Example") -> "_IndexLine | Rejected":
        image = _value(example, self.keys.image)
        label = _text(example, self.keys.label)
        split, group = (_text(example, key) for key in (self.keys.split, self.keys.group))
        shown = os.path.join(os.path.dirname(self.paths[0]), name)
        if not isinstance(image, bytes) or not image:
            return reject(shown, "the record has no image", label)
        if not label or label_problem(label):
            return reject(shown, "the record has no label that can be a class name")
        if split and split.lower() not in SPLITS:
            return reject(shown, f"the split is none of {', '.join(SPLITS)}", label)
        if len(image) > self.max_file_bytes:
            return reject(shown, f"larger than {self.max_file_bytes:,} bytes", label)
        path = os.path.join(self.folder, name + _extension(image))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(image)
        return _IndexLine(path, label, split, group)


def _value(example: "tf.train.Example", key: str) -> bytes | int | None:
    """The one value of a feature; None where it is absent, empty or a float."""
    feature = example.features.feature.get(key)
    if feature is None:
        return None
    values = feature.bytes_list.value or feature.int64_list.value
    return values[0] if values else None


def _text(example: "tf.train.Example", key: str) -> str:
    value = _value(example, key)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return "" if value is None else str(value)


def _extension(image: bytes) -> str:
    """The ending that a file of this content would have; JPEG's unless its signature is known."""
    matches = (name for start, name in _SIGNATURES.items() if image.startswith(start))
    return next(matches, ".jpg")
