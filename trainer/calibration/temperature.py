"""Whether a model's probabilities mean what they say: temperature and calibration error.

Light to import: numpy and scipy.
"""

import numpy as np
from scipy import optimize, special

from trainer.calibration.record import Bin

BINS = 15
"""Bins of equal width, as Guo et al. (2017) use them."""

# Where a few validation images are all classified correctly, ever smaller temperatures would
# fit ever better.
_LOWEST, _HIGHEST = 0.2, 10.0
_DRAWS = 2_000


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number that logits are divided by so that probabilities fit best.

    Minimizes the cross-entropy (Guo et al., On Calibration of Modern Neural Networks, 2017). The
    first choice stays what it is.

    Args:
      logits: float [n, classes]; rows that are not finite are left out.
      labels: int [n], the true classes.

    Returns:
      0.2 to 10; 1 if there is no row to fit by.
    """
    finite = np.isfinite(logits).all(axis=1)
    if not finite.any():
        return 1.0
    rows = logits[finite].astype(np.float64)
    true = rows[np.arange(len(rows)), labels[finite]]

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float(np.mean(special.logsumexp(rows * scale, axis=1) - true * scale))

    bounds = (np.log(_LOWEST), np.log(_HIGHEST))
    return float(np.exp(optimize.minimize_scalar(loss, bounds=bounds, method="bounded").x))


def confidences(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Float64 [n], the probability of each row's first choice; NaN where it is not finite."""
    if not len(logits):
        return np.empty(0)
    with np.errstate(invalid="ignore"):
        return special.softmax(logits.astype(np.float64) / temperature, axis=1).max(axis=1)


def reliability(confidence: np.ndarray, correct: np.ndarray) -> list[Bin]:
    """The bins that hold images, by rising confidence.

    Args:
      confidence: float [n], 0 to 1; what is not finite is left out.
      correct: bool [n].
    """
    finite = np.isfinite(confidence)
    confidence, correct = confidence[finite], correct[finite]
    numbers = _bin_numbers(confidence)
    return [
        Bin(int(rows.sum()), float(confidence[rows].mean()), float(correct[rows].mean()))
        for rows in (numbers == number for number in np.unique(numbers))
    ]


def _bin_numbers(confidence: np.ndarray) -> np.ndarray:
    """Int [n]: the bin of each confidence; 1 is in the last one."""
    return np.minimum((confidence * BINS).astype(int), BINS - 1)


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float | None:
    """The expected calibration error: how far accuracy is from confidence, on average, 0 to 1.

    None if no confidence is finite.
    """
    bins = reliability(confidence, correct)
    total = sum(one.count for one in bins)
    if not total:
        return None
    return sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / total


def noise_of_error(confidence: np.ndarray, level: float) -> float:
    """How large the calibration error of a perfectly calibrated model gets, by chance.

    Labels are drawn by the confidences themselves (consistency resampling; Bröcker and Smith
    2007, Vaicenavicius et al. 2019).

    Args:
      confidence: float [n], finite.
      level: the error stays below the result in this share of draws.
    """
    generator = np.random.default_rng(0)
    numbers = _bin_numbers(confidence)
    expected = np.bincount(numbers, weights=confidence, minlength=BINS)
    errors = []
    for _ in range(_DRAWS):
        correct = generator.random(len(confidence)) < confidence
        found = np.bincount(numbers, weights=correct, minlength=BINS)
        errors.append(np.abs(found - expected).sum() / len(confidence))
    return float(np.quantile(errors, level))
