"""How accuracy grows with the number of training images, and of which class more would help."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.inspect.probe import Judged, fit_and_predict
from pipeline.inspect.record import HelpfulClass, Point

_SHARES = (0.125, 0.25, 0.5, 1.0)
_LEAST_PER_CLASS = 2
# Each class costs a fit more.
_MOST_CLASSES = 20
# Standard errors that an effect must be away from nothing.
_CLEAR = 2.0


@dataclass(frozen=True)
class Curve:
    """Points, fewest images first; and the accuracy to expect of twice as many images."""

    points: list[Point]
    doubled: float | None


def learning_curve(vectors: np.ndarray, judged: Judged, seed: int = 0) -> Curve:
    """Trains on shares of the images of two folds' complements, and judges on these folds.

    The error is taken to fall as a power of the number of images (Hestness et al. 2017): a line
    through the logarithms. Where it does not fall clearly, nothing is predicted.
    """
    points = []
    folds = range(min(2, int(judged.folds.max()) + 1))
    for share in _SHARES:
        correct, sizes = [], []
        for fold in folds:
            out = judged.folds == fold
            rows = _share_of(np.nonzero(~out)[0], judged.labels, share, seed + fold)
            correct.append(_correct(vectors, judged, rows, out))
            sizes.append(len(rows))
        right = np.concatenate(correct)
        points.append(Point(round(float(np.mean(sizes))), float(right.mean())))
    return Curve(points, _doubled(points, len(right)))


def _doubled(points: Sequence[Point], judged: int) -> float | None:
    errors = np.array([1 - point.accuracy for point in points])
    noise = np.sqrt(errors[-1] * (1 - errors[-1]) / judged)
    if errors.min() <= 0 or errors[0] - errors[-1] < _CLEAR * noise:
        return None
    slope, _ = np.polyfit(np.log([point.images for point in points]), np.log(errors), 1)
    return float(1 - errors[-1] * 2**slope) if slope < 0 else None


def helpful_class(vectors: np.ndarray, judged: Judged, seed: int = 0) -> HelpfulClass | None:
    """The class whose training images matter most, each for itself.

    For each class half of its training images is left out in turn. What that costs is about
    what as many more would bring. Nothing if no class costs clearly more than chance.
    """
    if len(judged.classes) > _MOST_CLASSES:
        return None
    out = judged.folds == 0
    kept = np.nonzero(~out)[0]
    whole = _correct(vectors, judged, kept, out)
    best: HelpfulClass | None = None
    for number, label in enumerate(judged.classes):
        own = kept[judged.labels[kept] == number]
        if len(own) < 2 * _LEAST_PER_CLASS:
            continue
        half = np.random.default_rng(seed).permutation(own)[: len(own) // 2]
        without = _correct(vectors, judged, np.setdiff1d(kept, half), out)
        lost, gained = int((whole & ~without).sum()), int((without & ~whole).sum())
        drop = (lost - gained) / len(whole)
        is_clear = lost - gained > _CLEAR * np.sqrt(lost + gained)
        if is_clear and (best is None or drop > best.gain):
            best = HelpfulClass(label, int((judged.labels == number).sum()), float(drop))
    return best


def _correct(vectors: np.ndarray, judged: Judged, rows: np.ndarray, out: np.ndarray) -> np.ndarray:
    found = fit_and_predict(
        vectors[rows], judged.labels[rows], vectors[out], len(judged.classes), judged.strength
    )
    return found.argmax(axis=1) == judged.labels[out]


def _share_of(rows: np.ndarray, labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Of each class its share, but two images at least."""
    random = np.random.default_rng(seed)
    chosen = []
    for number in np.unique(labels[rows]):
        own = random.permutation(rows[labels[rows] == number])
        chosen.append(own[: max(_LEAST_PER_CLASS, round(share * len(own)))])
    return np.concatenate(chosen)
