"""A logistic regression on pooled vectors: what a model is worth beside the simplest one."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trainer.calibration.unknown import Pooled

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# How strongly weights are held back, weakest last. Features are standardized and many.
STRENGTHS = (0.0003, 0.003, 0.03, 0.3)
_MOST_ITERATIONS = 300
# Values in the vectors, 400 MB of them.
_WORTH_THREADS = 100_000_000
# Training images times classes: beyond it a probe takes minutes.
_MOST_WORK = 250_000
# As good as never, but finite: of a class without a training image.
_NEVER = -1e4


@dataclass(frozen=True)
class Probe:
    """A linear classifier.

    Attributes:
      kernel: float32 [width, classes].
      bias: float32 [classes].
      strength: scikit-learn's C.
      val_loss: cross-entropy on validation.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float = 0.0
    val_loss: float = 0.0


def fit_linear(
    strength: float, vectors: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> "Pipeline":
    """Fits a logistic regression on standardized features, by L-BFGS.

    Args:
      strength: scikit-learn's C; the smaller, the more weights are held back.
      vectors: float32 [n, width].
      labels: int64 [n].
      weights: float32 [n], how much each counts; None: all alike.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS)
    )
    # In small products OpenBLAS's threads wait for each other longer than they work: measured on
    # 578 vectors of 1,280, one thread takes a fiftieth of the processor's time of two.
    num_threads = 1 if vectors.size < _WORTH_THREADS else None
    with threadpool_limits(num_threads, user_api="blas"):
        return probe.fit(vectors, labels, logisticregression__sample_weight=weights)


def fit_probe(train: Pooled, val: Pooled, num_classes: int) -> Probe | None:
    """Fits one by L-BFGS, its strength chosen by the cross-entropy of validation.

    Args and what None stands for: as for `fit_probes`.
    """
    probes = fit_probes(train, val, num_classes)
    return min(probes, key=lambda probe: probe.val_loss) if probes else None


def fit_probes(
    train: Pooled,
    val: Pooled,
    num_classes: int,
    most_work: int = _MOST_WORK,
    on_fitted: Callable[[], object] = lambda: None,
) -> list[Probe] | None:
    """Fits one of each of `STRENGTHS`, in this order.

    Args:
      train: training images.
      val: validation images.
      num_classes: width of the logits.
      most_work: training images times classes that are worth the time.
      on_fitted: called after each strength.

    Returns:
      None if there is too little to train on, or so much that it would take minutes.
    """
    from scipy.special import log_softmax

    train, val = train.finite(), val.finite()
    classes = np.unique(train.labels)
    if len(classes) < 2 or not len(val) or len(train) * len(classes) > most_work:
        return None
    probes = []
    for strength in STRENGTHS:
        probe = _fit(train, num_classes, strength)
        each = -log_softmax(val.vectors @ probe.kernel + probe.bias, axis=1)
        loss = np.average(each[np.arange(len(val)), val.labels], weights=val.weights)
        probes.append(replace(probe, strength=strength, val_loss=float(loss)))
        on_fitted()
    return probes


def _fit(train: Pooled, num_classes: int, strength: float) -> Probe:
    scaler, found = fit_linear(strength, train.vectors, train.labels, train.weights)
    coefficients, intercepts = found.coef_, found.intercept_
    if len(found.classes_) == 2:  # scikit-learn keeps one row for both
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    kernel = np.zeros([train.vectors.shape[1], num_classes])
    bias = np.full([num_classes], _NEVER)
    kernel[:, found.classes_] = coefficients.T / scaler.scale_[:, np.newaxis]
    bias[found.classes_] = intercepts - coefficients @ (scaler.mean_ / scaler.scale_)
    return Probe(kernel.astype(np.float32), bias.astype(np.float32))
