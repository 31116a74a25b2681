"""The gate's tests: pairs of answers to the same images, by themselves or in groups.

docs/gate.md derives each of them. Light to import: numpy and scipy.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, signal, sparse, stats

# Two-sided, of intervals.
CONFIDENCE = 0.95
# Chance of seeing a gain that is there, in statements on how many images it takes.
POWER = 0.8
_RESAMPLES = 9_999


@dataclass(frozen=True)
class Pairs:
    """Two models' answers to the same images.

    Attributes:
      baseline: bool [n], whether the baseline was right.
      candidate: bool [n], whether the candidate was.
      groups: int [n]; images with one number are near-duplicates, or belong to one patient,
        session or photographer, and tell little more than one image.
    """

    baseline: np.ndarray
    candidate: np.ndarray
    groups: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """Int [n]: 1 where only the candidate was right, -1 where only the baseline was."""
        return self.candidate.astype(int) - self.baseline.astype(int)

    @property
    def gain(self) -> float:
        """Accuracy of the candidate less that of the baseline, -1 to 1."""
        return float(self.difference.mean())

    def by_group(self) -> np.ndarray:
        """Int [groups]: sum of the differences in each group."""
        _, rows = np.unique(self.groups, return_inverse=True)
        return np.bincount(rows, weights=self.difference).astype(int)

    def of(self, rows: np.ndarray) -> "Pairs":
        """The pairs of some images."""
        return Pairs(self.baseline[rows], self.candidate[rows], self.groups[rows])


def sign_flip_p_value(sums: Sequence[int] | np.ndarray) -> float:
    """One-sided p-value of a gain, by groups of images.

    If both models are equally good, each group's sum is as likely to have the other sign. So the
    chance of a total at least as large is that of a random walk with steps of these sizes, which
    is computed in full. Where every group is one image this is McNemar's exact test.

    Example:
      >>> sign_flip_p_value([1, 1, 1, 1, 1])
      0.03125

    Args:
      sums: of the differences in each group; see `Pairs.by_group`.

    Returns:
      The chance of such a gain, or a larger one, without a difference; 1 if all sums are 0.
    """
    sums = np.asarray(sums, dtype=int)
    walk = np.ones(1)
    for size, count in zip(*np.unique(np.abs(sums[sums != 0]), return_counts=True), strict=True):
        # The sum of so many steps of one size is size · (2 · Binomial(count, ½) - count).
        steps = np.zeros(2 * size * count + 1)
        steps[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        walk = signal.fftconvolve(walk, steps) if len(walk) > 1 else steps
    middle = len(walk) // 2
    return float(np.clip(walk[middle + int(sums.sum()) :].sum(), 0.0, 1.0))


def gain_interval(pairs: Pairs, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Two-sided interval of the gain, within -1 to 1.

    Wald's interval with half an image added to each cell of the 2×2 table (Agresti and Min,
    Statistics in Medicine 24, 2005). Where images are grouped, its width is that of the variance
    between groups (Eliasziw and Donner, Statistics in Medicine 10, 1991; the variance is that of
    Obuchowski, Statistics in Medicine 17, 1998), if that is larger.
    """
    difference, total = pairs.difference, len(pairs.difference)
    b, c, n = np.sum(difference > 0) + 0.5, np.sum(difference < 0) + 0.5, total + 2
    gain = (b - c) / n
    variance = ((b + c) - (b - c) ** 2 / n) / n**2
    sums = pairs.by_group()
    count = len(sums)
    if 1 < count < total:
        _, sizes = np.unique(pairs.groups, return_counts=True)
        between = np.sum((sums - sizes * pairs.gain) ** 2) * count / (count - 1) / total**2
        variance = max(variance, between)
    margin = stats.norm.ppf((1 + confidence) / 2) * math.sqrt(variance)
    return max(float(gain - margin), -1.0), min(float(gain + margin), 1.0)


@dataclass(frozen=True)
class Gain:
    """A gain and what is known of it by one sample of images.

    Attributes:
      estimate: -1 to 1.
      low: lower end of the interval with 95 % confidence.
      high: upper end.
      p_value: one-sided, of the gain.
      p_value_of_loss: one-sided, of the opposite.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    p_value_of_loss: float

    @property
    def error(self) -> float:
        """The standard error that belongs to the interval."""
        return float((self.high - self.low) / (2 * stats.norm.ppf((1 + CONFIDENCE) / 2)))


def accuracy_gain(pairs: Pairs) -> Gain:
    """The gain in accuracy, by the exact test of `sign_flip_p_value`."""
    sums = pairs.by_group()
    low, high = gain_interval(pairs)
    return Gain(pairs.gain, low, high, sign_flip_p_value(sums), sign_flip_p_value(-sums))


def cross_fitted_gain(pairs: Pairs, folds: np.ndarray, train_images: Mapping[int, int]) -> Gain:
    """The gain in accuracy of a procedure, by models that were trained on overlapping images.

    The folds' models share most of their training images, so that their gains vary less than
    those of independent trainings would. Nadeau and Bengio (Machine Learning 52, 2003) put
    1/k + n_test/n_train in place of 1/k into the variance of the mean over k folds; the t test has
    k - 1 degrees of freedom. A gain must also be one by the exact test of all pairs: p-values and
    interval are the less favourable ones of both.

    Args:
      pairs: answers to all images, each by the models of the fold that it was left out with.
      folds: int [n], the fold of each image.
      train_images: fold -> number of images that its models were trained on.
    """
    plain = accuracy_gain(pairs)
    numbers = sorted(train_images)
    gains = np.array([pairs.difference[folds == one].mean() for one in numbers])
    ratio = float(np.mean([np.sum(folds == one) / train_images[one] for one in numbers]))
    count = len(numbers)
    error = math.sqrt(float(gains.var(ddof=1)) * (1 / count + ratio))
    t = pairs.gain / error if error else math.copysign(math.inf, pairs.gain) if pairs.gain else 0.0
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return Gain(
        estimate=pairs.gain,
        low=max(-1.0, min(plain.low, pairs.gain - margin)),
        high=min(1.0, max(plain.high, pairs.gain + margin)),
        p_value=max(plain.p_value, float(stats.t.sf(t, count - 1))),
        p_value_of_loss=max(plain.p_value_of_loss, float(stats.t.cdf(t, count - 1))),
    )


def macro_recall_gain(pairs: Pairs, classes: np.ndarray) -> Gain:
    """The gain in the mean recall of the classes, by a paired bootstrap (Efron 1979).

    Groups of images are resampled with both models' answers to them; the interval is that of
    percentiles, and the p-value the share of resamples that show no gain.

    Args:
      pairs: both models' answers.
      classes: int [n], the true class of each image.
    """
    return _bootstrap(pairs.difference, pairs.groups, classes)


def macro_recall_bound(
    right: np.ndarray, groups: np.ndarray, classes: np.ndarray, alpha: float
) -> float:
    """Lower bound of the mean recall of the classes with confidence 1 - alpha, by bootstrap."""
    return _bootstrap(right.astype(int), groups, classes, 1 - 2 * alpha).low


def _bootstrap(
    values: np.ndarray, groups: np.ndarray, classes: np.ndarray, confidence: float = CONFIDENCE
) -> Gain:
    """Of the mean over classes of the mean of the values in each class."""
    _, group_rows = np.unique(groups, return_inverse=True)
    _, class_rows = np.unique(classes, return_inverse=True)
    places = class_rows, group_rows
    # Few groups hold images of more than one class.
    sums = sparse.coo_matrix((values, places)).tocsr()
    counts = sparse.coo_matrix((np.ones(len(values)), places)).tocsr()
    rows = np.arange(counts.shape[1])

    def mean_over_classes(drawn: np.ndarray) -> float:
        times = np.bincount(drawn, minlength=len(rows))
        total = counts @ times
        # A class that was not drawn says nothing in this draw.
        return float(((sums @ times)[total > 0] / total[total > 0]).mean())

    estimate = mean_over_classes(rows)
    if len(rows) < 2:  # scipy resamples two or more
        return Gain(estimate, -1.0, 1.0, 1.0, 1.0)
    found = stats.bootstrap(
        (rows,),
        mean_over_classes,
        vectorized=False,
        n_resamples=_RESAMPLES,
        confidence_level=max(confidence, 1e-6),
        method="percentile",
        random_state=np.random.default_rng(0),
    )
    draws = found.bootstrap_distribution
    return Gain(
        estimate=estimate,
        low=float(found.confidence_interval.low),
        high=float(found.confidence_interval.high),
        p_value=float((1 + np.sum(draws <= 0)) / (1 + len(draws))),
        p_value_of_loss=float((1 + np.sum(draws >= 0)) / (1 + len(draws))),
    )


def accuracy_bound(right: np.ndarray, groups: np.ndarray, alpha: float) -> float:
    """Lower bound of an accuracy, 0 to 1, with confidence 1 - alpha.

    Clopper and Pearson's exact one, from as many images as are worth the groups (the number of
    images divided by the design effect; Kish 1965), if that is fewer.

    Args:
      right: bool [n].
      groups: int [n], as of `Pairs`.
      alpha: chance that the accuracy is below the bound.
    """
    total, share = len(right), float(right.mean())
    _, rows, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    effect = 1.0
    if 1 < len(sizes) < total and 0 < share < 1:
        sums = np.bincount(rows, weights=right - share)
        effect = max(1.0, float(np.sum(sums**2)) / (total * share * (1 - share)))
    worth = total / effect
    count = share * worth
    return float(stats.beta.ppf(alpha, count, worth - count + 1)) if count else 0.0


def power(images: int, discordance: float, gain: float, alpha: float) -> float:
    """Chance that McNemar's exact one-sided test shows a gain that is there.

    Args:
      images: number of test images, each by itself.
      discordance: share of them that only one of the models gets right.
      gain: true gain in accuracy, 0 to `discordance`.
      alpha: level of the test.
    """
    better = (discordance + gain) / (2 * discordance)
    spread = 9 * math.sqrt(images * discordance * (1 - discordance)) + 9
    low = max(1, int(images * discordance - spread))
    counts = np.arange(low, min(images, int(images * discordance + spread)) + 1)
    critical = stats.binom.isf(alpha, counts, 0.5) + 1
    shown = stats.binom.sf(critical - 1, counts, better)
    return float(np.sum(stats.binom.pmf(counts, images, discordance) * shown))


def detectable_gain(images: int, discordance: float, alpha: float) -> float | None:
    """The smallest gain that `images` show with a chance of 80 %; None: not even the largest."""
    if power(images, discordance, discordance, alpha) < POWER:
        return None
    return float(
        optimize.brentq(
            lambda gain: power(images, discordance, gain, alpha) - POWER,
            0.0,
            discordance,
            xtol=1e-4,
        )
    )


def detectable_by_error(error: float, alpha: float) -> float:
    """The gain that is shown with a chance of 80 %, by a normal approximation."""
    return float((stats.norm.isf(alpha) + stats.norm.ppf(POWER)) * error)


def images_needed(discordance: float, gain: float, alpha: float) -> int:
    """How many test images show a gain with a chance of 80 % (Miettinen, Biometrics 24, 1968).

    Args:
      discordance: share of the images that only one of the models gets right.
      gain: true gain in accuracy, above 0 and up to `discordance`.
      alpha: level of the one-sided test.
    """
    at_null = stats.norm.isf(alpha) * math.sqrt(discordance)
    at_gain = stats.norm.ppf(POWER) * math.sqrt(max(discordance - gain**2, 0.0))
    return math.ceil(((at_null + at_gain) / gain) ** 2)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values of several tests (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []
