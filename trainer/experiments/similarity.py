"""How alike two sets of features of the same images are."""

import numpy as np


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019).

    Args:
      first: float [n, channels], features of n images.
      second: float [n, other channels], other features of the same images.

    Returns:
      0 to 1; 1 if one is the other, but for rotation, translation and one scale.
    """
    first, second = (one.astype(np.float64) - one.mean(axis=0) for one in (first, second))
    kernel, other = first @ first.T, second @ second.T
    norms = float(np.linalg.norm(kernel) * np.linalg.norm(other))
    return float(np.sum(kernel * other)) / norms if norms else 0.0
