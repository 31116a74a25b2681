"""Tells copies of one picture from two pictures that merely look alike.

Two thumbnails are compared by the correlation of their pixels, which neither brightness nor
contrast changes, at the place and scale where they fit best.
"""

import functools

import numpy as np

from components.image_example_gen.near_duplicates.sketch import CROP, SIDE_PX, crops

# Correlation, -1 to 1. `benchmarks/near_duplicates` measures what these find and confuse.
LEAST_ALIKE = 0.97
_LEAST_COARSELY_ALIKE = 0.9

_COARSE_PX = 8
_FINE_PX = 16
_FINE_SCALES = (CROP / 2, 0.8 * CROP, CROP, 1.2 * CROP)
_FINE_OFFSETS = 5

_COARSE_PAIRS_AT_ONCE = 4096
_FINE_PAIRS_AT_ONCE = 128


def are_copies(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compares pairs of thumbnails: uint8 [pairs, 24, 24] twice to bool [pairs]."""
    alike = _compare(one, other, _coarse_parts(), _COARSE_PAIRS_AT_ONCE) >= _LEAST_COARSELY_ALIKE
    (rows,) = np.nonzero(alike)
    fine = _compare(one[rows], other[rows], _fine_parts(), _FINE_PAIRS_AT_ONCE)
    alike[rows] = fine >= LEAST_ALIKE
    return alike


_Parts = tuple[np.ndarray, np.ndarray]


def _compare(one: np.ndarray, other: np.ndarray, parts: _Parts, at_once: int) -> np.ndarray:
    """The best correlation of the whole of either thumbnail with some part of the other."""
    best = np.empty(len(one), np.float32)
    for start in range(0, len(one), at_once):
        rows = slice(start, start + at_once)
        first, second = (_cut(images[rows], parts) for images in (one, other))
        best[rows] = np.maximum(
            np.einsum("np,nvp->nv", first[:, 0], second).max(axis=1),
            np.einsum("np,nvp->nv", second[:, 0], first).max(axis=1),
        )
    return best


def _cut(thumbnails: np.ndarray, parts: _Parts) -> np.ndarray:
    """Resizes each part: uint8 [n, 24, 24] to float32 [n, parts, pixels], mean 0, length 1."""
    rows, columns = parts
    cut = rows @ thumbnails[:, np.newaxis].astype(np.float32) @ columns
    flat = cut.reshape(*cut.shape[:2], -1)
    flat -= flat.mean(axis=2, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1e-6)


@functools.cache
def _coarse_parts() -> _Parts:
    return _resizing(crops(), _COARSE_PX)


@functools.cache
def _fine_parts() -> _Parts:
    boxes = [(0.0, 0.0, float(SIDE_PX))]
    for missing in _FINE_SCALES:
        offsets = np.linspace(0, SIDE_PX * missing, _FINE_OFFSETS)
        side = SIDE_PX * (1 - missing)
        boxes += [(left, top, side) for left in offsets for top in offsets]
    return _resizing(boxes, _FINE_PX)


def _resizing(boxes: list[tuple[float, float, float]], size_px: int) -> _Parts:
    """Matrices that cut out and resize by area: [parts, size, 24] and [parts, 24, size]."""
    rows = np.stack([_averaging(top, side, size_px) for _, top, side in boxes])
    columns = np.stack([_averaging(left, side, size_px).T for left, _, side in boxes])
    return rows, columns


def _averaging(start: float, length: float, size_px: int) -> np.ndarray:
    """Float32 [size_px, 24]: how much of each pixel is in each of the parts of a line."""
    edges = start + np.arange(size_px + 1) * length / size_px
    pixels = np.arange(SIDE_PX)
    ends = np.minimum(edges[1:, np.newaxis], pixels + 1)
    starts = np.maximum(edges[:-1, np.newaxis], pixels)
    covered = np.maximum(ends - starts, 0)
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)
