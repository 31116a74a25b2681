"""The data card: what ingestion found, written once and carried along with the examples."""

import json
import os
from dataclasses import dataclass, field

import tensorflow as tf

from trainer import records
from trainer.data.formats import WEBP
from trainer.data.rules import SplitRule
from trainer.records import Record
from trainer.remote_files import read_record

FILE_NAME = "data_card.json"


@dataclass(frozen=True)
class NearDuplicateCounts(Record):
    """Pictures that are copies of each other, but not to the byte.

    Attributes:
      groups: number of groups.
      images: number of images in them.
      largest: number of images in the largest one.
      conflicting: number of groups whose pictures stand in several classes.
      divided: number of groups that are in several splits, as the source or an earlier run has
        it: the model is judged by copies of what it was trained on.
    """

    groups: int = 0
    images: int = 0
    largest: int = 0
    conflicting: int = 0
    divided: int = 0


@dataclass(frozen=True)
class DataCard(Record):
    """What a set of examples was made of.

    Attributes:
      images_dir: where the images came from.
      fingerprint: hexadecimal; depends on the files' content, labels and weights alone, not on
        their names, their order or the time.
      counts: split -> class name -> number of images.
      set_aside: reason -> number of files that were left out for it.
      formats: format -> number of images whose files were in it.
      transcoded: format -> number of those that were re-encoded as PNG.
      split_rule: how the images were divided; None: by another version of Thaw.
      splits_kept_from: folder of earlier examples: what they hold stayed in its split.
      small_classes: class name -> number of images, of classes that some split had no image of.
      near_duplicates: what was found of them.
      weighted: whether some images count more or less than others in the losses.
    """

    images_dir: str
    fingerprint: str
    counts: dict[str, dict[str, int]]
    set_aside: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    transcoded: dict[str, int] = field(default_factory=dict)
    split_rule: SplitRule | None = None
    splits_kept_from: str = ""
    small_classes: dict[str, int] = field(default_factory=dict)
    near_duplicates: NearDuplicateCounts = NearDuplicateCounts()
    weighted: bool = False

    @property
    def labels(self) -> list[str]:
        """Class names by label id: sorted, so that only a new or removed class moves an id."""
        return sorted({label for counts in self.counts.values() for label in counts})

    @property
    def holds_webp(self) -> bool:
        """Whether the examples hold WebP files as they are."""
        return self.formats.get(WEBP, 0) > self.transcoded.get(WEBP, 0)

    def num_examples(self, split: str) -> int:
        """Number of images in one split."""
        return sum(self.counts.get(split, {}).values())


def write_card(card: DataCard, examples_uri: str) -> None:
    """Puts the card into an examples folder, beside its splits."""
    with tf.io.gfile.GFile(os.path.join(examples_uri, FILE_NAME), "w") as file:
        file.write(json.dumps(records.to_json(card), indent=2, sort_keys=True))


def read_card(examples_uri: str) -> DataCard:
    """Reads the card of an examples folder.

    Raises:
      ThawError: naming the keys that are unknown, missing or of another type.
    """
    path = os.path.join(examples_uri, FILE_NAME)
    return read_record(DataCard, path)
