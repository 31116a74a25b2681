"""Joins images that belong together: near-duplicates, and what the source calls a group."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.image_example_gen.near_duplicates.find import components, find_copies
from components.image_example_gen.near_duplicates.sketch import Sketch
from components.image_example_gen.placed import NearDuplicates
from components.image_example_gen.splitting import ImageFile, group_copies
from trainer.data.rules import SplitRule

Group = Sequence[ImageFile]


@dataclass(frozen=True)
class Sketched:
    """A checked image and what it looks like; None if that is not asked or it is nearly flat."""

    image: ImageFile
    sketch: Sketch | None = None


@dataclass(frozen=True)
class Grouped:
    """All images, each content once.

    Attributes:
      images: sorted by content.
      groups: every image is in one of them, most of them alone.
      pairs: int64 [pairs, 2], rows of images that are near-duplicates.
    """

    images: Sequence[ImageFile]
    groups: Sequence[Group]
    pairs: np.ndarray


def group_images(sketched: Iterable[Sketched], rule: SplitRule) -> Grouped:
    """Groups all images that passed the check; those of several classes are left out."""
    sketches: dict[str, Sketch | None] = {}
    files = []
    for one in sketched:
        sketches[one.image.sha256] = one.sketch
        files.append(one.image)
    copies, _ = group_copies(sorted(files))
    images = [group[0] for group in copies]
    pairs = _near_duplicates([sketches[image.sha256] for image in images], rule)
    return Grouped(images, _joined(images, pairs), pairs)


def _near_duplicates(sketches: Sequence[Sketch | None], rule: SplitRule) -> np.ndarray:
    if rule.near_duplicates == "ignore":
        return np.empty((0, 2), np.int64)
    return find_copies(sketches, mirrored=rule.near_duplicates == "group_mirrored")


def _joined(images: Sequence[ImageFile], pairs: np.ndarray) -> list[list[ImageFile]]:
    """Joins near-duplicates and what the source groups; each image is in one group."""
    first: dict[str, int] = {}
    named = [
        (first.setdefault(image.group, row), row) for row, image in enumerate(images) if image.group
    ]
    edges = np.concatenate([pairs, np.array(named, np.int64).reshape(-1, 2)])
    groups: dict[int, list[ImageFile]] = defaultdict(list)
    for image, number in zip(images, components(len(images), edges).tolist(), strict=True):
        groups[number].append(image)
    return list(groups.values())


def near_duplicates(grouped: Grouped, splits: Mapping[str, str]) -> list[NearDuplicates]:
    """Lists the groups of near-duplicates, sorted by their paths.

    Args:
      grouped: all images.
      splits: hash of an image -> its split.
    """
    members = np.unique(grouped.pairs)
    rows = np.searchsorted(members, grouped.pairs)
    found: dict[int, list[ImageFile]] = defaultdict(list)
    for row, number in zip(members, components(len(members), rows).tolist(), strict=True):
        found[number].append(grouped.images[row])
    listed = []
    for group in found.values():
        ordered = sorted(group, key=lambda image: image.path)
        listed.append(
            NearDuplicates(
                [image.path for image in ordered],
                [image.label for image in ordered],
                [splits[image.sha256] for image in ordered],
            )
        )
    return sorted(listed, key=lambda one: one.paths)
