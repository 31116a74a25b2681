"""The folder of class folders: lists it, and says when it cannot be learned from."""

import os
from collections.abc import Iterator

from tfx.dsl.io import fileio

from trainer import features
from trainer.data_card import DataCard


class UnusableImages(ValueError):
    """The folder as a whole cannot be learned from. The message says what to do."""


def list_files(images_dir: str) -> Iterator[tuple[str, str]]:
    """(label, path) of each file in the class folders; leaves out names that begin with a dot."""
    for label in _labels(images_dir):
        for path in _list_class(images_dir, label):
            yield label, path


def check_folder(images_dir: str) -> int:
    """Counts the files in the class folders.

    Raises:
      UnusableImages: if the folder is missing, or does not hold at least two class
        folders with files in each.
    """
    if not fileio.isdir(images_dir):
        raise UnusableImages(f"{images_dir}: there is no such folder.")
    counts = {
        label: sum(1 for _ in _list_class(images_dir, label)) for label in _labels(images_dir)
    }
    if len(counts) < 2:
        raise UnusableImages(
            f"{images_dir} holds {len(counts)} class folders; a classifier needs two or more.\n"
            "  Put the images of each class into a folder of its own, named like the class."
        )
    empty = sorted(label for label, count in counts.items() if not count)
    if empty:
        raise UnusableImages(
            f"{images_dir}: no files in {', '.join(empty)}. Add images, or remove the folder."
        )
    return sum(counts.values())


def check_card(card: DataCard) -> None:
    """Checks that what was found can be learned from and judged.

    Raises:
      UnusableImages: naming the class or the split that has no images left.
    """
    labels = sorted({label for counts in card.counts.values() for label in counts})
    untrained = [label for label in labels if not card.counts[features.TRAIN].get(label)]
    folders = set(_labels(card.images_dir))
    lost = sorted(folders - set(labels))
    if lost:
        raise UnusableImages(
            f"{card.images_dir}: not one usable image in {', '.join(lost)}. "
            f"Set aside: {_reasons(card)}."
        )
    if untrained:
        raise UnusableImages(
            f"{card.images_dir}: no training images of {', '.join(untrained)}: "
            "too few images for the splits. Add images, or give train a larger part."
        )
    for split in features.SPLITS:
        if not card.num_examples(split):
            raise UnusableImages(
                f"{card.images_dir}: no images in the {split} split. "
                f"Add images, or raise data.splits.{split}."
            )


def _reasons(card: DataCard) -> str:
    return "; ".join(f"{count} × {reason}" for reason, count in sorted(card.set_aside.items()))


def _labels(images_dir: str) -> list[str]:
    names = [name.rstrip("/") for name in fileio.listdir(images_dir)]
    return sorted(
        name
        for name in names
        if not name.startswith(".") and fileio.isdir(os.path.join(images_dir, name))
    )


def _list_class(images_dir: str, label: str) -> Iterator[str]:
    for name in sorted(fileio.listdir(os.path.join(images_dir, label))):
        if not name.startswith(".") and not name.endswith("/"):
            yield os.path.join(images_dir, label, name)
