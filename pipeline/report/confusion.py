"""The confusion matrix: which classes are taken for each other, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_TABLE_CLASSES = 40
"""With more classes the matrix is a picture, for a table of it could not be read."""
_MOST_CONFUSIONS = 15


@dataclass(frozen=True)
class Confusion:
    """How often images of one class were predicted as another."""

    label: str
    predicted: str
    count: int


def top_confusions(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> list[Confusion]:
    """The most frequent confusions, most frequent first.

    Args:
      matrix: true classes in rows, predicted ones in columns.
      classes: their names.
    """
    mistakes = [
        Confusion(classes[row], classes[column], count)
        for row, of_class in enumerate(matrix)
        for column, count in enumerate(of_class)
        if row != column and count
    ]
    return sorted(mistakes, key=lambda mistake: -mistake.count)[:_MOST_CONFUSIONS]


def order_by_similarity(matrix: Sequence[Sequence[int]]) -> list[int]:
    """Positions of the classes, those that are often confused beside each other.

    The leaves of average linkage in their optimal order (Bar-Joseph, Gifford and Jaakkola 2001).
    Without a mistake the order stays as it is.

    Args:
      matrix: true classes in rows, predicted ones in columns.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    counts = np.asarray(matrix, float)
    if len(counts) < 3 or not (counts - np.diag(np.diag(counts))).any():
        return list(range(len(counts)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    distances = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    return [int(leaf) for leaf in leaves_list(tree)]


def reorder(matrix: Sequence[Sequence[int]], order: Sequence[int]) -> list[list[int]]:
    """The matrix with rows and columns in another order."""
    return [[matrix[row][column] for column in order] for row in order]
