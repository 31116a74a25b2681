"""Images that are unlike the others: blurred, dark, bright, of an odd size or shape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.inspect.record import Outlier

# Iglewicz and Hoaglin (1993): how far, in robust standard deviations, an outlier is.
_FAR = 3.5
_DARK_LEVEL = 40.0
_BRIGHT_LEVEL = 225.0
_MOST_OF_A_KIND = 20
# ITU-R BT.601, as Pillow's mode L.
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Look:
    """What is measured of one image.

    Attributes:
      sharpness: variance of the Laplacian of its luminance (Pech-Pacheco et al. 2000).
      level: mean luminance, 0 to 255.
      width_px: of the file; 0 if it is not known, like the height.
      height_px: likewise.
    """

    sharpness: float
    level: float
    width_px: int
    height_px: int


def look_at(pixels: np.ndarray, size: tuple[int, int]) -> Look:
    """Measures uint8 [size, size, 3]; `size` is width and height of the file."""
    grey = pixels.astype(np.float32) @ _LUMINANCE
    return Look(float(ndimage.laplace(grey).var()), float(grey.mean()), *size)


def find_outliers(
    looks: Sequence[Look], paths: Sequence[str], labels: Sequence[str]
) -> list[Outlier]:
    """Lists at most twenty of each kind, the most extreme first."""
    sharpness = np.array([look.sharpness for look in looks])
    levels = np.array([look.level for look in looks])
    areas = np.array([float(look.width_px * look.height_px) for look in looks])
    shapes = np.array([look.width_px / max(1, look.height_px) for look in looks])
    known = areas > 0
    kinds: list[tuple[str, np.ndarray, np.ndarray]] = [
        ("blurred", sharpness, -_deviation(np.log(sharpness + 1))),
        ("dark", levels, np.where(levels < _DARK_LEVEL, -_deviation(levels), 0)),
        ("bright", levels, np.where(levels > _BRIGHT_LEVEL, _deviation(levels), 0)),
        ("small", areas, _where(known, areas, lambda found: -_deviation(np.log(found)))),
        ("large", areas, _where(known, areas, lambda found: _deviation(np.log(found)))),
        ("of an odd shape", shapes, _where(known, shapes, lambda f: abs(_deviation(np.log(f))))),
    ]
    listed = []
    for kind, values, far in kinds:
        rows = [row for row in np.argsort(-far, kind="stable") if far[row] > _FAR]
        listed += [
            Outlier(paths[row], labels[row], kind, float(values[row]))
            for row in rows[:_MOST_OF_A_KIND]
        ]
    return listed


def _where(
    known: np.ndarray, values: np.ndarray, deviation: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    found = np.zeros(len(values))
    if known.any():
        found[known] = deviation(values[known])
    return found


def _deviation(values: np.ndarray) -> np.ndarray:
    """Distance from the median in robust standard deviations: 1.4826 times the median distance.

    Where most values are the same, such as the size of all photographs of one camera, a tenth of
    the unit counts as one deviation.
    """
    distance = values - np.median(values)
    spread = 1.4826 * np.median(abs(distance))
    return distance / max(spread, 0.1)
