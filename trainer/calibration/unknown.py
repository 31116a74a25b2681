"""How far an image is from all that a model was trained on.

Two signs are added. The distance of the pooled vector to the nearest class: Mahalanobis's, with
one covariance for all classes (Lee et al. 2018), which is kept as its largest directions and one
variance for all the others (probabilistic principal components; Tipping and Bishop 1999). And
the energy of the logits (Liu et al. 2020), which is high where no class is likely. Each is
counted in standard deviations from its mean over the validation images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import tensorflow as tf

_DIRECTIONS = 64
_LEAST_VARIANCE = 1e-6
_LEAST_IMAGES = 3


@dataclass(frozen=True)
class KnownImages:
    """What training and validation images look like to a model.

    Attributes:
      centre: float32 [width], mean of the training images' pooled vectors.
      means: float32 [classes, width], of each class that has training images, less `centre`.
      directions: float32 [directions, width], orthonormal.
      variances: float32 [directions], within classes, along them.
      rest: float32 [], variance along each other direction.
      location: float32 [2], means of distance and energy over the validation images.
      scale: float32 [2], their standard deviations.
      threshold: float32 [], highest score of an image that counts as known.
    """

    centre: np.ndarray
    means: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    threshold: np.ndarray

    def as_variables(self) -> "KnownImages":
        """The same as TensorFlow's variables, which an exported model keeps beside its graph."""
        return KnownImages(
            **{
                one.name: tf.Variable(getattr(self, one.name), trainable=False, dtype=tf.float32)
                for one in fields(self)
            }
        )

    def score(self, vectors: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Float32 [n]: the higher, the less known.

        Args:
          vectors: float32 [n, width], pooled.
          logits: float32 [n, classes].
        """
        signs = tf.stack([self._distance(vectors), _energy(logits)], axis=1)
        return tf.reduce_sum((signs - self.location) / self.scale, axis=1)

    def _distance(self, vectors: tf.Tensor) -> tf.Tensor:
        """Float32 [n]: to the nearest class, divided by the root of the width."""
        vectors = vectors - self.centre
        plain = _squared_distances(vectors, self.means, 1.0 / self.rest)
        along = tf.linalg.matmul(vectors, self.directions, transpose_b=True)
        means = tf.linalg.matmul(self.means, self.directions, transpose_b=True)
        more = _squared_distances(along, means, 1.0 / self.variances - 1.0 / self.rest)
        width = tf.cast(tf.shape(vectors)[1], tf.float32)
        nearest = tf.reduce_min(tf.nn.relu(plain + more), axis=1)
        return tf.sqrt(nearest / width)


def _squared_distances(rows: tf.Tensor, means: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Float32 [rows, means]: sums of squared differences, each dimension by its weight."""
    weighted = rows * weights
    return (
        tf.reduce_sum(weighted * rows, axis=1, keepdims=True)
        - 2.0 * tf.linalg.matmul(weighted, means, transpose_b=True)
        + tf.reduce_sum(means * means * weights, axis=1)
    )


def _energy(logits: tf.Tensor) -> tf.Tensor:
    return -tf.reduce_logsumexp(logits, axis=1)


@dataclass(frozen=True)
class Pooled:
    """Images as the head sees them.

    Attributes:
      vectors: float32 [n, width].
      labels: int64 [n], label ids.
      weights: float32 [n], how much each counts in a loss; None: all alike.
    """

    vectors: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, rows: np.ndarray) -> "Pooled":
        """Some of the images."""
        weights = None if self.weights is None else self.weights[rows]
        return Pooled(self.vectors[rows], self.labels[rows], weights)

    def weighted(self, class_weights: Sequence[float]) -> "Pooled":
        """The same images, each counting by its own weight times that of its class.

        Args:
          class_weights: by label id; empty: all alike.
        """
        weights = np.ones(len(self), np.float32) if self.weights is None else self.weights
        if class_weights:
            weights = weights * np.asarray(class_weights, np.float32)[self.labels]
        return replace(self, weights=weights)

    def finite(self) -> "Pooled":
        """The images whose vector is."""
        return self.of(np.isfinite(self.vectors).all(axis=1))


def nothing_known(width: int) -> KnownImages:
    """For a model of which nothing can be said: every score is 0 and every image known."""
    zeros, ones = np.zeros([1, width], np.float32), np.ones([1], np.float32)
    nowhere = np.full([2], np.inf, np.float32)
    return KnownImages(
        centre=zeros[0],
        means=zeros,
        directions=zeros,
        variances=ones,
        rest=ones[0],
        location=np.zeros([2], np.float32),
        scale=nowhere,
        threshold=np.zeros([], np.float32),
    )


def fit_known(
    train: Pooled, val: Pooled, val_logits: np.ndarray, rejected_share: float
) -> KnownImages:
    """Fits to the images of a model.

    Args:
      train: training images.
      val: validation images.
      val_logits: float32 [len(val), classes].
      rejected_share: at most this share of the validation images counts as unknown, 0 to 1.
    """
    train = train.finite()
    finite = np.isfinite(val.vectors).all(axis=1) & np.isfinite(val_logits).all(axis=1)
    if len(train) < _LEAST_IMAGES or not finite.any():
        return nothing_known(train.vectors.shape[1])
    shape = _fit_shape(train)
    vectors, logits = tf.constant(val.vectors[finite]), tf.constant(val_logits[finite])
    signs = np.stack([shape._distance(vectors), _energy(logits)], axis=1)
    placed = replace(
        shape,
        location=signs.mean(axis=0),
        scale=np.maximum(signs.std(axis=0), _LEAST_VARIANCE).astype(np.float32),
    )
    scores = np.sort(placed.score(vectors, logits).numpy())
    threshold = scores[-1 - int(rejected_share * len(scores))]
    return replace(placed, threshold=np.asarray(threshold, np.float32))


def _fit_shape(train: Pooled) -> KnownImages:
    """All but what validation decides."""
    from sklearn.decomposition import PCA

    centre = train.vectors.mean(axis=0)
    vectors = train.vectors - centre
    classes, rows = np.unique(train.labels, return_inverse=True)
    means = np.stack([vectors[rows == one].mean(axis=0) for one in range(len(classes))])
    # With one image a class there is nothing within classes to see.
    free = len(vectors) - len(classes)
    within = vectors - means[rows] if free > 1 else vectors
    count = min(_DIRECTIONS, max(1, free // 2), vectors.shape[1] - 1)
    found = PCA(count, random_state=0).fit(within)
    largest = max(float(found.explained_variance_[0]), _LEAST_VARIANCE)
    least = _LEAST_VARIANCE * largest
    return replace(
        nothing_known(vectors.shape[1]),
        centre=centre,
        means=means,
        directions=found.components_.astype(np.float32),
        variances=np.maximum(found.explained_variance_, least).astype(np.float32),
        rest=np.asarray(max(float(found.noise_variance_), least), np.float32),
    )
