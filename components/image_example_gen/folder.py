"""The folder of class folders: lists it, and says when it cannot be learned from."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tfx.dsl.io import fileio

from components.image_example_gen.rejected import commonest
from trainer import keys
from trainer.data.card import DataCard
from trainer.data.labels import name_problems
from trainer.errors import ThawError
from trainer.store.uris import is_remote

# How many classes a message names with their particulars, and how many reasons of each.
_MOST_CLASSES = 5
_MOST_REASONS = 3

# How likely a class, or a split, of too few images is to miss its share by chance.
_UNLIKELY = 0.001


class UnusableDataset(ThawError):
    """The folder as a whole cannot be learned from. The message says what to do."""


def list_files(images_dir: str) -> Iterator[tuple[str, str]]:
    """(label, path) of each file in the class folders; leaves out names that begin with a dot."""
    for label in _labels(images_dir):
        for path in _list_class(images_dir, label):
            yield label, path


def check_folder(images_dir: str) -> int:
    """Counts the files in the class folders.

    Raises:
      UnusableDataset: if the folder is missing, or does not hold at least two class
        folders with files in each, or one has a name that cannot be a label.
    """
    if not _is_folder(images_dir):
        raise UnusableDataset("there is no such folder.", where=images_dir)
    labels = _labels(images_dir)
    problems = name_problems(labels)
    if problems:
        raise UnusableDataset(problems, where=images_dir)
    if len(labels) < 2:
        raise UnusableDataset(
            f"{images_dir} holds {len(labels)} class folders; a classifier needs two or more.",
            to_do="Put the images of each class into a folder of its own, named like the class.",
        )
    counts = {label: sum(1 for _ in _list_class(images_dir, label)) for label in labels}
    empty = sorted(label for label, count in counts.items() if not count)
    if empty:
        raise UnusableDataset(
            f"no files in {', '.join(empty)}.",
            where=images_dir,
            to_do="Add images, or remove the folder.",
        )
    return sum(counts.values())


def check_card(
    card: DataCard, rejected: Mapping[str, Counter[str]], splits: Mapping[str, int]
) -> None:
    """Checks that what was found can be learned from and judged.

    Args:
      card: what was found.
      rejected: class -> reason -> number of files that were left out.
      splits: split name -> parts.

    Raises:
      UnusableDataset: naming the class or the split that has no images left.
    """
    totals: Counter[str] = sum((Counter(found) for found in card.counts.values()), Counter())
    # A class whose folder vanished meanwhile is among the rejected ones only.
    labels = {*_labels(card.images_dir), *rejected}
    _check_classes(card, rejected, sorted(labels - set(totals)))
    untrained = [label for label in sorted(totals) if not card.counts[keys.TRAIN].get(label)]
    if untrained:
        few = [f"{label} ({_images(totals[label])})" for label in untrained]
        raise UnusableDataset(
            f"no training images of {_some(few)}.",
            where=card.images_dir,
            to_do="The content of an image decides its split, and none of these fell into train.\n"
            f"Add images, {_enough(splits, keys.TRAIN)} or more a class, or give train a larger "
            "part: data.splits.train.",
        )
    for split in keys.SPLITS:
        if not card.num_examples(split):
            raise UnusableDataset(
                f"no images in the {split} split, of {sum(totals.values())} in all.",
                where=card.images_dir,
                to_do=f"Add images, {_enough(splits, split)} or more in all, or raise "
                f"data.splits.{split}.",
            )


def _check_classes(
    card: DataCard, rejected: Mapping[str, Counter[str]], lost: Sequence[str]
) -> None:
    if not lost:
        return
    reasons = [
        f"{label}: {commonest(rejected.get(label, Counter()), _MOST_REASONS) or 'no files'}"
        for label in lost[:_MOST_CLASSES]
    ]
    raise UnusableDataset(
        f"not one usable image in {_some(lost)}. Rejected:",
        where=card.images_dir,
        to_do="\n".join([*reasons, "Add images, or remove the folders."]),
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_CLASSES
    return ", ".join(names[:_MOST_CLASSES]) + (f" and {more} more" if more > 0 else "")


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"


def _enough(splits: Mapping[str, int], split: str) -> int:
    """How many images leave a split empty less than once in a thousand times."""
    missed = 1 - splits[split] / sum(splits.values())
    return math.ceil(math.log(_UNLIKELY) / math.log(missed)) if 0 < missed < 1 else 1


def _labels(images_dir: str) -> list[str]:
    names = [name.rstrip("/") for name in _names(images_dir)]
    return sorted(
        name
        for name in names
        if not name.startswith(".") and _is_folder(os.path.join(images_dir, name))
    )


def _list_class(images_dir: str, label: str) -> Iterator[str]:
    for name in sorted(_names(os.path.join(images_dir, label))):
        if not name.startswith(".") and not name.endswith("/"):
            yield os.path.join(images_dir, label, name)


def _names(folder: str) -> list[str]:
    """What a folder holds. In a bucket the names of folders end in a slash."""
    if is_remote(folder):
        return list(fileio.listdir(folder))
    try:
        # TensorFlow's listing fails on a name that is not UTF-8.
        return os.listdir(folder)
    except OSError as error:
        raise UnusableDataset(f"cannot be read: {error.strerror}.", where=folder) from error


def _is_folder(path: str) -> bool:
    return bool(fileio.isdir(path)) if is_remote(path) else os.path.isdir(path)
