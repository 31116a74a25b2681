"""A linear probe on pooled features: what it finds about labels and classes.

Every image is judged by a probe that has seen neither it nor its near-duplicates.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from pipeline.inspect.record import Confused, Suspect
from trainer.calibration.probe import fit_linear

# How strongly weights are held back, weakest last. Features are standardized and many.
_STRENGTHS = (0.0003, 0.003, 0.03)
_FOLDS = 5
_LEAST_IMAGES = 2
MOST_IMAGES = 20_000
_MOST_PAIRS = 10
_MOST_SUSPECTS = 100


class TooFewImages(ValueError):
    """No probe can be judged. The message says of which class there are too few images."""


@dataclass(frozen=True)
class Judged:
    """What the probes say of images that they have not seen.

    Attributes:
      labels: int64 [images], the given classes.
      classes: names of the classes.
      probabilities: float64 [images, classes].
      folds: int64 [images]: the part that each image was left out with.
      strength: of regularization that was chosen.
    """

    labels: np.ndarray
    classes: Sequence[str]
    probabilities: np.ndarray
    folds: np.ndarray
    strength: float

    @property
    def correct(self) -> np.ndarray:
        """Bool [images]."""
        return self.probabilities.argmax(axis=1) == self.labels


def choose_images(labels: Sequence[str], seed: int = 0) -> np.ndarray:
    """Rows of at most `MOST_IMAGES` images, of each class its share; sorted."""
    if len(labels) <= MOST_IMAGES:
        return np.arange(len(labels))
    from sklearn.model_selection import train_test_split

    rows, _ = train_test_split(
        np.arange(len(labels)), train_size=MOST_IMAGES, stratify=labels, random_state=seed
    )
    return np.sort(rows)


def probeable(labels: Sequence[str], groups: Sequence[int]) -> tuple[np.ndarray, dict[str, int]]:
    """Finds the classes that a probe can be judged on: those of two groups or more.

    Returns:
      Rows of their images, and the number of images of each of the other classes.
    """
    found: dict[str, set[int]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        found[label].add(group)
    rows = [row for row, label in enumerate(labels) if len(found[label]) >= _LEAST_IMAGES]
    others = Counter(label for label in labels if len(found[label]) < _LEAST_IMAGES)
    return np.array(rows, np.int64), dict(sorted(others.items()))


def judge(vectors: np.ndarray, labels: Sequence[str], groups: Sequence[int]) -> Judged:
    """Classifies every image by a probe that was trained without its group.

    Args:
      vectors: float32 [images, channels].
      labels: class names.
      groups: number of the group of near-duplicates of each image.

    Raises:
      TooFewImages: if a class has fewer than two groups.
    """
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedGroupKFold

    classes, numbers = np.unique(labels, return_inverse=True)
    sizes = {
        name: len({groups[row] for row in np.nonzero(numbers == place)[0].tolist()})
        for place, name in enumerate(classes)
    }
    if len(classes) < 2:
        raise TooFewImages("A probe needs two classes with two or more images each")
    few = min(sizes, key=lambda name: sizes[name])
    if sizes[few] < _LEAST_IMAGES:
        raise TooFewImages(f"{few} has {sizes[few]} image: a probe needs two or more of each class")
    count = min(_FOLDS, sizes[few])
    folds = np.empty(len(numbers), np.int64)
    parts = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    for fold, (_, left_out) in enumerate(parts.split(vectors, numbers, groups)):
        folds[left_out] = fold
    tried = [_left_out(vectors, numbers, folds, len(classes), one) for one in _STRENGTHS]
    losses = [log_loss(numbers, found, labels=range(len(classes))) for found in tried]
    best = int(np.argmin(losses))
    return Judged(numbers, [str(one) for one in classes], tried[best], folds, _STRENGTHS[best])


def _left_out(
    vectors: np.ndarray, numbers: np.ndarray, folds: np.ndarray, classes: int, strength: float
) -> np.ndarray:
    found = np.zeros((len(numbers), classes))
    for fold in range(folds.max() + 1):
        out = folds == fold
        found[out] = fit_and_predict(vectors[~out], numbers[~out], vectors[out], classes, strength)
    return found


def fit_and_predict(
    vectors: np.ndarray, numbers: np.ndarray, others: np.ndarray, classes: int, strength: float
) -> np.ndarray:
    """Trains a probe and returns its probabilities for other vectors: [others, classes].

    A class without a training image gets probability 0.
    """
    probe = fit_linear(strength, vectors, numbers)
    found = np.zeros((len(others), classes))
    found[:, probe.classes_] = probe.predict_proba(others)
    return found


def interval(correct: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of an accuracy (Wilson 1927), 0 to 1."""
    found = binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def confused(judged: Judged) -> list[Confused]:
    """The pairs of classes that are most often taken for each other."""
    counts = Counter[tuple[int, int]]()
    guesses = judged.probabilities.argmax(axis=1)
    for label, guess in zip(judged.labels.tolist(), guesses.tolist(), strict=True):
        if label != guess:
            counts[min(label, guess), max(label, guess)] += 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    names = judged.classes
    return [Confused(names[one], names[other], n) for (one, other), n in ranked[:_MOST_PAIRS]]


def rank_labels(judged: Judged) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranks labels by how doubtful they are.

    By cleanlab: confident learning (Northcutt, Jiang and Chuang 2021) and normalized margins.

    Returns:
      Rows of all images, the most doubtful first; the quality of each image's label, 0 to 1;
      and whether confident learning finds each doubtful.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    quality = get_label_quality_scores(
        judged.labels, judged.probabilities, method="normalized_margin"
    )
    flagged = np.asarray(find_label_issues(judged.labels, judged.probabilities, n_jobs=1), bool)
    return np.argsort(quality, kind="stable"), quality, flagged


def suspects(judged: Judged, paths: Sequence[str]) -> tuple[list[Suspect], int]:
    """The most doubtful labels, and how many confident learning finds."""
    order, quality, flagged = rank_labels(judged)
    guesses = judged.probabilities.argmax(axis=1)
    doubtful = [row for row in order if guesses[row] != judged.labels[row]]
    listed = [
        Suspect(
            paths[row],
            judged.classes[judged.labels[row]],
            judged.classes[guesses[row]],
            float(quality[row]),
            bool(flagged[row]),
        )
        for row in doubtful[:_MOST_SUSPECTS]
    ]
    return listed, int(flagged.sum())
