"""The list of which image is in which split, and that of an earlier run.

So that new images move no other: where a new one joins a group of near-duplicates, the group
stays where it was, though its smallest hash may be another now.
"""

import os
from collections.abc import Mapping

import tensorflow as tf

from trainer.data.card import FILE_NAME, read_card
from trainer.data.rules import SplitRule
from trainer.errors import ThawError
from trainer.remote_files import earlier_beside

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
    for folder in earlier_beside(uri):
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
