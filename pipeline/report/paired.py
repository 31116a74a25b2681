"""Compares two models on the same images: is a gain more than chance?"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Paired:
    """How the predictions of two models differ on the same images.

    Attributes:
      candidate_only: number of images that only the candidate classified correctly.
      baseline_only: number of images that only the baseline classified correctly.
      p_value: exact McNemar test: the chance of a difference at least this lopsided if
        both were equally good (McNemar 1947; binomial form).
      gain_low: lower end of a 95 % interval of the gain in accuracy, in -1 to 1.
      gain_high: its upper end.
    """

    candidate_only: int
    baseline_only: int
    p_value: float
    gain_low: float
    gain_high: float


def compare(outcomes: Iterable[tuple[bool, bool]]) -> Paired:
    """Compares two models.

    Example:
      compare([(True, True), (False, True)]).candidate_only  # 1

    Args:
      outcomes: for each image, whether the baseline and whether the candidate was correct.

    Raises:
      ValueError: if there are no outcomes.
    """
    total = candidate_only = baseline_only = 0
    for baseline_right, candidate_right in outcomes:
        total += 1
        candidate_only += candidate_right and not baseline_right
        baseline_only += baseline_right and not candidate_right
    if not total:
        raise ValueError("no outcomes to compare.")
    low, high = _interval(candidate_only, baseline_only, total)
    differing = candidate_only + baseline_only
    p_value = stats.binomtest(candidate_only, differing).pvalue if differing else 1.0
    return Paired(candidate_only, baseline_only, float(p_value), low, high)


def _interval(candidate_only: int, baseline_only: int, total: int) -> tuple[float, float]:
    """Wald interval with half an observation added to each cell of the 2×2 table.

    Agresti and Min, "Simple improved confidence intervals for comparing matched
    proportions", Statistics in Medicine 24 (2005).
    """
    b, c, n = candidate_only + 0.5, baseline_only + 0.5, total + 2
    gain = (b - c) / n
    error = math.sqrt((b + c) - (b - c) ** 2 / n) / n
    margin = float(stats.norm.ppf(0.975)) * error
    return max(gain - margin, -1.0), min(gain + margin, 1.0)
