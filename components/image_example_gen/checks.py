"""Says when what was ingested cannot be learned from or judged."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from components.image_example_gen.rejected import commonest
from components.image_example_gen.sources.entry import UnusableDataset
from trainer import keys
from trainer.data.card import DataCard
from trainer.data.rules import SplitRule

# How many classes a message names with their particulars, and how many reasons of each.
_MOST_CLASSES = 5
_MOST_REASONS = 3

# How likely a class, or a split, of too few images is to miss its share by chance.
_UNLIKELY = 0.001


def check_card(card: DataCard, rejected: Mapping[str, Counter[str]], rule: SplitRule) -> None:
    """Checks that what was found can be learned from and judged.

    Args:
      card: what was found.
      rejected: class -> reason -> number of files that were left out.
      rule: how the images were divided.

    Raises:
      UnusableDataset: naming the class or the split that has no images left.
    """
    splits = rule.parts
    if card.small_classes and rule.small_classes == "refuse":
        raise _too_small(card)
    totals: Counter[str] = sum((Counter(found) for found in card.counts.values()), Counter())
    # A class without a usable image is among the rejected ones only.
    folded = set(card.small_classes) if rule.small_classes == "fold" else set()
    _check_classes(card, rejected, sorted(set(rejected) - set(totals) - folded - {""}))
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


def _too_small(card: DataCard) -> UnusableDataset:
    few = [f"{label} ({_images(count)})" for label, count in card.small_classes.items()]
    return UnusableDataset(
        f"too few images to have some in every split: {_some(few)}.",
        where=card.images_dir,
        to_do="Add images of these classes, or set data.stratify=true, with which three images "
        "that are no copies of each other are enough,\nor set data.small_classes=fold to make "
        "one class of all of them, or data.small_classes=warn to go on.",
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
        to_do="\n".join([*reasons, "Add images, or remove the classes."]),
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
