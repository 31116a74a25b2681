"""Divides all images into folds, so that each is a test image once."""

from collections.abc import Sequence

import numpy as np

from trainer import keys
from trainer.errors import ThawError
from trainer.experiments.images import ImageInfo


def assign_folds(infos: Sequence[ImageInfo], count: int, seed: int = 0) -> dict[str, int]:
    """Gives every image a fold: classes in their shares, groups undivided.

    Args:
      infos: all images.
      count: number of folds.
      seed: decides which images come together.

    Returns:
      Id of an image -> its fold, 0 to count - 1.

    Raises:
      ThawError: if there are fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = np.array([info.label for info in infos])
    names = [info.group or f"image {info.id}" for info in infos]
    groups = np.unique(names, return_inverse=True)[1]
    if len(set(names)) < count:
        raise ThawError(
            f"{len(set(names))} images, or groups of images, cannot be divided into {count} folds.",
            to_do="Add images, or lower gate.folds.",
        )
    folds = np.empty(len(infos), int)
    parts = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for fold, (_, test) in enumerate(parts.split(labels, labels, groups)):
        folds[test] = fold
    return {info.id: int(fold) for info, fold in zip(infos, folds, strict=True)}


def splits_of_fold(folds: dict[str, int], count: int, fold: int) -> dict[str, str]:
    """The splits that one fold is judged by.

    The fold itself is the test split and the next one validation; all others train. With six
    folds these are about the shares of the usual splits.
    """
    names = {fold: keys.TEST, (fold + 1) % count: keys.VAL}
    return {identity: names.get(one, keys.TRAIN) for identity, one in folds.items()}
