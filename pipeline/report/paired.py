"""Compares two models on the same images: is a gain more than chance?"""

import math
from collections.abc import Iterable

from scipy import stats

from pipeline.report.run_record import Paired


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
    return Paired(
        candidate_only=candidate_only,
        baseline_only=baseline_only,
        p_value=float(p_value),
        gain_low=low,
        gain_high=high,
    )


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
