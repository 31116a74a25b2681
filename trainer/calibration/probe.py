"""A logistic regression on pooled vectors: what a model is worth beside the simplest one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.calibration.unknown import Pooled

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# How strongly weights are held back, weakest last. Features are standardized and many.
STRENGTHS = (0.0003, 0.003, 0.03, 0.3)
_MOST_ITERATIONS = 300
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
    """

    kernel: np.ndarray
    bias: np.ndarray


def linear_probe(strength: float) -> "Pipeline":
    """A logistic regression on standardized features, by L-BFGS, not fitted yet.

    Args:
      strength: scikit-learn's C; the smaller, the more weights are held back.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS)
    )


def fit_probe(train: Pooled, val: Pooled, num_classes: int) -> Probe | None:
    """Fits one by L-BFGS, its strength chosen by the cross-entropy of validation.

    Args:
      train: training images.
      val: validation images.
      num_classes: width of the logits.

    Returns:
      None if there is too little to train on, or so much that it would take minutes.
    """
    from scipy.special import log_softmax

    train, val = train.finite(), val.finite()
    classes = np.unique(train.labels)
    if len(classes) < 2 or not len(val) or len(train) * len(classes) > _MOST_WORK:
        return None
    best, least = None, np.inf
    for strength in STRENGTHS:
        probe = _fit(train, num_classes, strength)
        logits = val.vectors @ probe.kernel + probe.bias
        loss = -float(log_softmax(logits, axis=1)[np.arange(len(val)), val.labels].mean())
        if loss < least:
            best, least = probe, loss
    return best


def _fit(train: Pooled, num_classes: int, strength: float) -> Probe:
    scaler, found = linear_probe(strength).fit(train.vectors, train.labels)
    coefficients, intercepts = found.coef_, found.intercept_
    if len(found.classes_) == 2:  # scikit-learn keeps one row for both
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    kernel = np.zeros([train.vectors.shape[1], num_classes])
    bias = np.full([num_classes], _NEVER)
    kernel[:, found.classes_] = coefficients.T / scaler.scale_[:, np.newaxis]
    bias[found.classes_] = intercepts - coefficients @ (scaler.mean_ / scaler.scale_)
    return Probe(kernel.astype(np.float32), bias.astype(np.float32))
