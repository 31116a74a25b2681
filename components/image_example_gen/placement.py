"""Decides the split of every image, when all of them are known.

A group is placed as a whole. What an earlier run has placed stays where it was.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from components.image_example_gen.grouping import (
    Group,
    Grouped,
    Sketched,
    group_images,
    near_duplicates,
)
from components.image_example_gen.placed import Placement
from components.image_example_gen.splitting import ImageFile, split_for, split_of, spread
from trainer import keys
from trainer.data.rules import SplitRule


def place(
    sketched: Iterable[Sketched], rule: SplitRule, earlier: Mapping[str, str] | None = None
) -> Placement:
    """Decides the splits. The order of the images does not matter.

    Args:
      sketched: all images that passed the check.
      rule: how to divide them.
      earlier: hash -> split, of images that an earlier run has placed by the same rule.
    """
    grouped = group_images(sketched, rule)
    splits, free = _placed(grouped.groups, rule, earlier or {})
    if free:
        splits.update(_stratified(free, splits, grouped.groups, rule))
    moved = {
        image.sha256: splits[image.sha256]
        for image in grouped.images
        if splits[image.sha256] != split_for(image, rule.parts)
    }
    small = _small_classes(grouped, splits, rule)
    folded = dict.fromkeys(small, rule.folded_class) if rule.small_classes == "fold" else {}
    copies = near_duplicates(grouped, splits)
    return Placement(splits, moved, folded, small, copies, dict(_named(grouped.groups)))


def _named(groups: Iterable[Group]) -> Iterator[tuple[str, str]]:
    for group in groups:
        if len(group) > 1:
            name = min(image.sha256 for image in group)
            yield from ((image.sha256, name) for image in group)


def _placed(
    groups: Iterable[Group], rule: SplitRule, earlier: Mapping[str, str]
) -> tuple[dict[str, str], list[Group]]:
    """Hash -> split of what has its place by itself, and the groups that may fill up classes."""
    splits: dict[str, str] = {}
    free = []
    for group in groups:
        kept = {image.sha256: _earlier(image, earlier) for image in group}
        known = {split for split in kept.values() if split}
        allowed = [name for name in rule.parts if all(name in _own(one, rule) for one in group)]
        if rule.stratify and not known and len(allowed) == len(rule.parts):
            free.append(group)
            continue
        split = _of_group(group, rule, allowed, known)
        for image in group:
            splits[image.sha256] = kept[image.sha256] or _for_one(image, group, rule, split)
    return splits, free


def _own(image: ImageFile, rule: SplitRule) -> list[str]:
    return [name for name in rule.parts if name in (image.splits or rule.parts)]


def _earlier(image: ImageFile, earlier: Mapping[str, str]) -> str:
    """Where an earlier run has placed an image, if its source still allows that."""
    split = earlier.get(image.sha256, "")
    return split if split in (image.splits or (split,)) else ""


def _of_group(group: Group, rule: SplitRule, allowed: Sequence[str], known: set[str]) -> str:
    """The split of a group as a whole; empty if its source has divided it already.

    A new image joins the older ones. Where these are in several splits it joins those in train:
    a picture there cannot flatter a model that is judged.
    """
    if known:
        return next(iter(known)) if len(known) == 1 else keys.TRAIN
    if not allowed:
        return ""
    return split_of(_key(group), {name: rule.parts[name] for name in allowed})


def _for_one(image: ImageFile, group: Group, rule: SplitRule, split: str) -> str:
    own = _own(image, rule)
    if split in own:
        return split
    return split_of(_key(group), {name: rule.parts[name] for name in own})


def _key(group: Group) -> str:
    """What a group is placed by: the name that the source gives it, or its smallest hash."""
    named = [image.group for image in group if image.group]
    return min(named or [image.sha256 for image in group])


def _stratified(
    free: Iterable[Group], placed: Mapping[str, str], groups: Iterable[Group], rule: SplitRule
) -> dict[str, str]:
    """Fills the splits of each class up to its parts: large groups first, then by their keys.

    A group of several classes counts for the commonest of them.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    totals, numbers = Counter[str](), Counter[str]()
    for group in groups:
        label = _class_of(group)
        totals[label] += len(group)
        numbers[label] += 1
        counts[label].update(placed[one.sha256] for one in group if one.sha256 in placed)
    targets = {label: targets_of(totals[label], numbers[label], rule.parts) for label in totals}
    splits = {}
    for group in sorted(free, key=lambda one: (-len(one), spread(_key(one)))):
        label = _class_of(group)
        missing = {name: targets[label][name] - counts[label][name] for name in rule.parts}
        split = max(rule.parts, key=lambda name: missing[name])
        counts[label][split] += len(group)
        splits.update(dict.fromkeys((image.sha256 for image in group), split))
    return splits


def _class_of(group: Group) -> str:
    counts = Counter(image.label for image in group)
    return max(sorted(counts), key=lambda label: counts[label])


def targets_of(total: int, groups: int, parts: Mapping[str, int]) -> dict[str, int]:
    """How many of a class's images each split should have, by the largest remainders.

    Every split gets one if there are as many groups as splits.
    """
    least = 1 if groups >= len(parts) else 0
    exact = {name: total * part / sum(parts.values()) for name, part in parts.items()}
    targets = {name: max(least, int(share)) for name, share in exact.items()}
    while (left := total - sum(targets.values())) != 0:
        step = 1 if left > 0 else -1
        changeable = [name for name in exact if left > 0 or targets[name] > least]
        name = max(changeable, key=lambda one: step * (exact[one] - targets[one]))
        targets[name] += step
    return targets


def _small_classes(grouped: Grouped, splits: Mapping[str, str], rule: SplitRule) -> dict[str, int]:
    """Classes that some split has no image of, with their numbers of images."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for image in grouped.images:
        counts[image.label][splits[image.sha256]] += 1
    return {
        label: found.total()
        for label, found in sorted(counts.items())
        if len(found) < len(rule.parts)
    }
