"""The list of which image is in which split, and that of an earlier run.

So that new images move no other: where a new one joins a group of near-duplicates, the group
stays where it was, though its smallest hash may be another now.
"""

import os
from collections.abc import Iterator, Mapping

import tensorflow as tf

from trainer.data.card import FILE_NAME, read_card
from trainer.data.rules import SplitRule
from trainer.errors import ThawError

SPLITS_FILE = "image_splits.txt"


def write_splits(splits: Mapping[str, str], uri: str) -> None:
    """Writes a line an image, of its hash and its split, into an examples folder."""
    tf.io.gfile.makedirs(uri)
    with tf.io.gfile.GFile(os.path.join(uri, SPLITS_FILE), "w") as file:
        for sha256, split in sorted(splits.items()):
            file.write(f"{sha256} {split}\n")


def read_splits(uri: str) -> dict[str, str]:
    """Reads what `write_splits` has written: hash -> split.

    Raises:
      ThawError: if a line is not of two words.
    """
    path = os.path.join(uri, SPLITS_FILE)
    with tf.io.gfile.GFile(path) as file:
        return dict(_pair(line, path) for line in file)


def _pair(line: str, path: str) -> tuple[str, str]:
    words = line.split()
    if len(words) != 2:
        raise ThawError(
            "has a line that is not a hash and a split.",
            where=path,
            to_do="Delete the folder that it is in, and run the same command again.",
        )
    return words[0], words[1]


def find_earlier(uri: str, rule: SplitRule) -> str | None:
    """Finds the newest finished examples beside a folder that were divided by the same rule.

    Args:
      uri: folder of the examples that are about to be written; TFX numbers such folders.
      rule: of the run that asks.
    """
    for folder in _newer_first(uri):
        if not tf.io.gfile.exists(os.path.join(folder, FILE_NAME)):
            continue
        if not tf.io.gfile.exists(os.path.join(folder, SPLITS_FILE)):
            continue
        try:
            card = read_card(folder)
        except ThawError:  # of another version
            continue
        if card.split_rule == rule:
            return folder
    return None


def _newer_first(uri: str) -> Iterator[str]:
    parent, own = os.path.split(uri.rstrip("/"))
    if not own.isdigit() or not tf.io.gfile.isdir(parent):
        return
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(parent))
    for number in sorted((int(name) for name in names if name.isdigit()), reverse=True):
        if number != int(own):
            yield os.path.join(parent, str(number))
