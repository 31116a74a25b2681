"""Pairs of near-duplicates among any number of images, in memory of 0.7 kB an image."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from components.image_example_gen.near_duplicates.candidates import near_pairs
from components.image_example_gen.near_duplicates.compare import are_copies
from components.image_example_gen.near_duplicates.sketch import SIDE_PX, Sketch

_PAIRS_AT_ONCE = 2**12


def find_copies(
    sketches: Sequence[Sketch | None], mirrored: bool = False, every_pair: bool = False
) -> np.ndarray:
    """Finds pairs of near-duplicates.

    Args:
      sketches: one an image; an image without one has no near-duplicates.
      mirrored: whether a mirrored picture is a copy as well.
      every_pair: whether to look at pairs that others have joined into one group already. Of a
        thousand frames of one scene there are half a million.

    Returns:
      int64 [pairs, 2]: indices of two images, the smaller first.
    """
    rows = np.array([row for row, sketch in enumerate(sketches) if sketch], np.int64)
    drawn = [sketch for sketch in sketches if sketch]
    if not drawn:
        return np.empty((0, 2), np.int64)
    size = (len(drawn), SIDE_PX, SIDE_PX)
    images = np.frombuffer(b"".join(one.thumbnail for one in drawn), np.uint8).reshape(size)
    hashes = _numbers([one.hashes for one in drawn]).reshape(len(drawn), -1)
    found = _confirmed(near_pairs(hashes, hashes[:, 0]), images, images, every_pair)
    if mirrored:
        turned = near_pairs(hashes, _numbers([one.mirrored for one in drawn]))
        more = _confirmed(turned, images, images[:, :, ::-1], every_pair)
        found = np.unique(np.concatenate([found, more]), axis=0)
    return rows[found]


def components(count: int, pairs: np.ndarray) -> np.ndarray:
    """Joins what pairs connect: int64 [count], the number of the group of each."""
    if not count:
        return np.empty(0, np.int64)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _numbers(hashes: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), ">u8").astype(np.uint64)


def _confirmed(
    pairs: np.ndarray, images: np.ndarray, others: np.ndarray, every_pair: bool
) -> np.ndarray:
    found = np.empty((0, 2), np.int64)
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        part = pairs[start : start + _PAIRS_AT_ONCE]
        if not every_pair and len(found):
            group = components(len(images), found)
            part = part[group[part[:, 0]] != group[part[:, 1]]]
        copies = part[are_copies(images[part[:, 0]], others[part[:, 1]])]
        found = np.concatenate([found, copies])
    return found
