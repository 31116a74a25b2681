"""Pairs of pictures whose perceptual hashes are near, found without comparing all with all.

Bit sampling (Indyk and Motwani 1998, "Approximate Nearest Neighbors"): hashes that agree in some
randomly chosen bits share a bucket; with several choices, near ones almost surely share one.
"""

from collections.abc import Iterator

import numpy as np

# Bits of 64. In tests with photographs no copy was further away; of unrelated photographs
# one pair in a thousand is as near.
MOST_BITS = 8

# Of two hashes that differ by 4 bits, one pair in 100,000 then shares no bucket; by 6, one in 500.
_TABLES = 24

# Where one bucket holds more, as with pictures of one plain scene, each is compared with so many.
_MOST_IN_BUCKET = 500

_PAIRS_AT_ONCE = 2**20


def near_pairs(hashes: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Finds images of which one has a hash near to what is looked for by the other.

    Args:
      hashes: uint64 [images, views].
      queries: uint64 [images]: what is looked for among the hashes of all other images.

    Returns:
      int64 [pairs, 2]: rows of images, the smaller first, sorted; each pair once.
    """
    num_images, num_views = hashes.shape
    stored = hashes.reshape(-1)
    random = np.random.default_rng(0)
    num_bits = int(np.clip(np.log2(max(len(stored), 1)) - 4, 8, 24))
    found = np.empty(0, np.int64)
    for _ in range(_TABLES):
        bits = random.choice(64, num_bits, replace=False).astype(np.uint64)
        mask = np.bitwise_or.reduce(np.uint64(1) << bits)
        for query, view in _in_one_bucket(stored & mask, queries & mask):
            near = np.bitwise_count(stored[view] ^ queries[query]) <= MOST_BITS
            one, other = query[near], view[near] // num_views
            keys = np.minimum(one, other) * num_images + np.maximum(one, other)
            found = np.union1d(found, keys[one != other])
    return np.stack(np.divmod(found, max(num_images, 1)), axis=1)


def _in_one_bucket(
    stored: np.ndarray, queries: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows of queries, and beside each a row of what is stored under the same key."""
    order = np.argsort(stored, kind="stable")
    ordered = stored[order]
    first = np.searchsorted(ordered, queries, "left")
    counts = np.searchsorted(ordered, queries, "right") - first
    counts = np.minimum(counts, _MOST_IN_BUCKET)
    ends = np.cumsum(counts)
    start = 0
    while start < len(queries):
        before = ends[start] - counts[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, "right")))
        part = counts[start:stop]
        query = np.repeat(np.arange(start, stop), part)
        place = np.arange(len(query)) - np.repeat(np.cumsum(part) - part, part)
        yield query, order[first[query] + place]
        start = stop
