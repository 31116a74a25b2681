"""Which split an image belongs to, and what becomes of copies."""

import bisect
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trainer import keys


@dataclass(frozen=True, order=True)
class ImageFile:
    """A checked image. Orders by content, then by path.

    Attributes:
      sha256: of the file itself, not of what it is re-encoded to.
      path: of the file.
      label: class name.
      height_px: as people see it, like the width.
      width_px: likewise.
      format_name: as in `trainer.data.formats`.
      is_transcoded: whether it has to be re-encoded.
      splits: as the source demands it, like `group`, `stored_at` and `weight`; see `Entry`.
    """

    sha256: str
    path: str
    label: str
    height_px: int
    width_px: int
    format_name: str = ""
    is_transcoded: bool = False
    splits: tuple[str, ...] = ()
    group: str = ""
    stored_at: str = ""
    weight: float = 1.0


def split_of(sha256: str, splits: Mapping[str, int]) -> str:
    """Chooses a file's split by its content: the same bytes always land in the same one."""
    borders = list(itertools.accumulate(splits.values()))
    return list(splits)[bisect.bisect(borders, int(spread(sha256), 16) % borders[-1])]


def spread(key: str) -> str:
    """Hashes a hash or the name of a group; the digits of a hash itself choose its shard."""
    return hashlib.sha256(key.encode()).hexdigest()


def split_for(image: ImageFile, splits: Mapping[str, int]) -> str:
    """Chooses an image's split among those that its source allows, with its whole group."""
    allowed = {name: splits[name] for name in splits if name in (image.splits or splits)}
    return split_of(image.group or image.sha256, allowed)


def shard_of(image: ImageFile, num_shards: int) -> int:
    """Number of the files that an image is looked for in, one a split, below `num_shards`."""
    return int(image.sha256, 16) % num_shards


def group_copies(
    images: Sequence[ImageFile],
) -> tuple[list[list[ImageFile]], list[tuple[ImageFile, str]]]:
    """Groups the files of each content, of which one is to be kept.

    Args:
      images: sorted, so that the same bytes stand together.

    Returns:
      Groups of one content and one class, by path, but those first that their source puts into
      test, then into val: no copy of them may be trained on. And every file whose bytes stand
      in several classes, with the reason, for nobody knows which is right.
    """
    groups, rejected = [], []
    for _, group in itertools.groupby(images, key=lambda image: image.sha256):
        copies = list(group)
        if len({image.label for image in copies}) > 1:
            reason = "the same image stands in several classes"
            rejected += [(image, reason) for image in copies]
        else:
            groups.append(sorted(copies, key=_trained_on))
    return groups, rejected


def _trained_on(image: ImageFile) -> int:
    """0 if the source puts the image into test, 1 into val, 2 if it may be in train."""
    given = image.splits[0] if len(image.splits) == 1 else keys.TRAIN
    return (keys.TEST, keys.VAL, keys.TRAIN).index(given)


def fingerprint(images: Iterable[ImageFile]) -> str:
    """64 hexadecimal digits that depend on the contents, labels and weights alone.

    The exclusive or of a hash for each, so that parts combine in any order.
    """
    digest = 0
    for image in images:
        facts = f"{image.sha256}\n{image.label}"
        if image.weight != 1.0:
            facts += f"\n{image.weight!r}"
        digest ^= int(hashlib.sha256(facts.encode()).hexdigest(), 16)
    return f"{digest:064x}"
