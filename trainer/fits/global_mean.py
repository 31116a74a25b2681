"""A model whose loss is the mean over the global batch, however replicas share it."""

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from trainer.data.image_weights import unpack_weights


class GlobalBatchModel(keras.Model):
    """The same classifier and weights, trained and judged over whole global batches.

    Left to itself Keras takes the mean of the replicas' means, in which an image that has
    company counts less than one that stands alone on its replica. Here the rows' weights
    (`shares.BatchShare`) decide: each image of a global batch counts alike in the gradient, and
    each image of a pass counts alike in loss and metrics, whichever replica computes it.
    Batches without weights are those of a single replica.

    With class weights, an image's loss is multiplied by the weight of its class before the mean
    over the images is taken, as Keras's own `class_weight` does. So it is with the weights of
    single images (`image_weights`); metrics then are means weighted by them.
    """

    def __init__(
        self,
        inputs: list,
        outputs: list,
        label_smoothing: float,
        class_weights: Sequence[float] = (),
    ) -> None:
        """Takes the inputs and outputs of a model that gives logits."""
        super().__init__(inputs, outputs)
        self._class_weights = tuple(class_weights)
        self._loss_of = keras.losses.CategoricalCrossentropy(
            from_logits=True,
            label_smoothing=label_smoothing,
            reduction=keras.losses.Reduction.NONE,
        )

    def compute_loss(
        self,
        x: tf.Tensor = None,
        y: tf.Tensor = None,
        y_pred: tf.Tensor = None,
        sample_weight: tf.Tensor = None,
    ) -> tf.Tensor:
        """This replica's part of the loss: gradients of all replicas are added up."""
        losses = self._loss_of(y, y_pred)
        sample_weight, of_images = unpack_weights(sample_weight)
        if of_images is not None:
            losses *= of_images
        if self._class_weights:
            losses *= weights_of(y, self._class_weights)
        if sample_weight is not None:
            return tf.reduce_sum(losses * sample_weight)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise ValueError(
                "batches of several replicas need weights; see trainer.distribution.shares."
            )
        return tf.reduce_mean(losses)

    def compute_metrics(
        self, x: tf.Tensor, y: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Counts each image once, or by its weight; what only fills up a slice not at all."""
        sample_weight, of_images = unpack_weights(sample_weight)
        if sample_weight is not None:
            sample_weight = tf.cast(sample_weight > 0, tf.float32)
        if of_images is not None:
            sample_weight *= of_images
        return super().compute_metrics(x, y, y_pred, sample_weight)


def weights_of(labels: tf.Tensor, class_weights: Sequence[float]) -> tf.Tensor:
    """Returns float32 [batch], the weight of each image's class.

    Args:
      labels: one-hot float32 [batch, classes].
      class_weights: by label id.
    """
    return tf.linalg.matvec(labels, tf.constant(class_weights, tf.float32))


def cross_entropy(
    name: str, label_smoothing: float, class_weights: Sequence[float]
) -> keras.metrics.Metric:
    """Makes the mean over images of a pass, in which each counts by its class's weight."""
    if not class_weights:
        return keras.metrics.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing, name=name
        )
    return _WeightedCrossEntropy(name, label_smoothing, class_weights)


class _WeightedCrossEntropy(keras.metrics.CategoricalCrossentropy):
    """Divides by the weights' sum: batches of other mixtures of classes stay comparable."""

    def __init__(self, name: str, label_smoothing: float, class_weights: Sequence[float]) -> None:
        super().__init__(name, from_logits=True, label_smoothing=label_smoothing)
        self._class_weights = tuple(class_weights)

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor = None
    ) -> tf.Operation:
        """Adds a batch; `sample_weight` is 0 for what only fills up a slice."""
        weights = weights_of(y_true, self._class_weights)
        if sample_weight is not None:
            weights *= tf.reshape(sample_weight, [-1])  # Keras makes a column of them
        return super().update_state(y_true, y_pred, weights)
