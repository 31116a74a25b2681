"""Which images of a global batch each replica gets.

The global batches are the same, image for image, however many replicas share them; what
is written here decides only who computes what. So the weights after a fit do not depend
on the number of workers but for the order in which sums are taken.
"""

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class BatchShare:
    """The replicas of one process among all that share the global batches.

    A batch is cut into one slice a replica, of equal size: what divides evenly does, and
    the last slices are filled up with images of the same batch that count for nothing. So
    all replicas always have work of the same shape, also where a batch is smaller than
    usual, or than their number.

    Attributes:
      replicas: of all processes together.
      first: number of this process's first replica.
      count: of this process's replicas.
    """

    replicas: int = 1
    first: int = 0
    count: int = 1

    @property
    def is_all(self) -> bool:
        """Whether one replica does everything: nothing is cut, and nothing filled up."""
        return self.replicas == 1

    def slice_size(self, batch_size: int) -> int:
        """Images that one replica gets of a batch."""
        return -(-batch_size // self.replicas)

    def take(self, batch_size: int, *batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Picks what this process's replicas get of a batch.

        Args:
          batch_size: of a full batch.
          *batch: tensors [n, …] with n from 1 to `batch_size`.

        Returns:
          float32 [count · slice size] weights, then the rows of each tensor that go with
          them. A row that counts weighs 1/n, one that fills up weighs 0: over all
          replicas the weights of a batch add up to 1.
        """
        size = self.slice_size(batch_size)
        rows = tf.range(self.first * size, (self.first + self.count) * size)
        found = tf.shape(batch[0])[0]
        weights = tf.where(rows < found, 1.0 / tf.cast(found, tf.float32), 0.0)
        # Images again, not zeros: BatchNorm that follows the data sees them.
        return weights, *(tf.gather(one, rows % found) for one in batch)


ALL = BatchShare()
