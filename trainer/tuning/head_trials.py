"""Trials of the head on vectors in memory: many fits, compiled once for each width.

`trainer.fits.recipe` spends more on a fit's surroundings than on a head's arithmetic. Here a whole
epoch, validation included, is one call of a compiled function that all trials of one width
share; what differs between trials are arguments.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from trainer.calibration.unknown import Pooled
from trainer.distribution.strategy import make_deterministic
from trainer.fits import resume
from trainer.model.classifier import head_layers

# Of `keras.optimizers.RMSprop`, which fit 1 uses.
_RHO = 0.9
_EPSILON = 1e-7

_VAL_BATCH = 1024

_ANY_DROPOUT = 0.5  # so that the head has its Dropout layers


@dataclass(frozen=True)
class HeadValues:
    """What a trial of the head tries."""

    learning_rate: float
    units: int
    dropout: float
    label_smoothing: float


@dataclass(frozen=True)
class TrialResult:
    """What a trial came to.

    Attributes:
      objective: cross-entropy on the validation split, without label smoothing, at the
        best epoch; lower is better.
      epochs: how many were run.
      best_epoch: counts from 1: that of the lowest validation loss, as in the fits.
      seconds: how long it took.
    """

    objective: float
    epochs: int
    best_epoch: int
    seconds: float


def clip_objective(cross_entropy: float | None, num_classes: int) -> float:
    """A number that a search can digest, also of a fit that ran away.

    Ten times what guessing would get stands for everything worse and for what is no number:
    one huge value would drown all differences that matter in a Gaussian process.
    """
    most = 10 * math.log(max(num_classes, 2))
    if cross_entropy is None or not math.isfinite(cross_entropy):
        return most
    return min(cross_entropy, most)


class HeadTrials:
    """Runs trials of the head: RMSprop, early stopping, batches and first weights of fit 1."""

    def __init__(
        self,
        train: Sequence[Pooled],
        val: Pooled,
        num_classes: int,
        batch_size: int,
        patience: int,
        seed: int,
        layers: Callable[[int, float, int], list[keras.layers.Layer]] = head_layers,
        class_weights: Sequence[float] = (),
    ) -> None:
        """Args:
        train: training images, one entry for each view; epochs take turns over them.
        val: early stopping and the objective look at these.
        num_classes: width of the logits.
        batch_size: the last batch of an epoch may be smaller.
        patience: epochs without a better validation loss before a trial stops.
        seed: of first weights, order and dropout. A trial's outcome depends on its values
            and the seed alone, not on the trials before it.
        layers: makes the head's layers of units, dropout and number of classes; fit 1's.
        class_weights: how much an image counts in the losses, by label id; empty: all alike.
        """
        self._train = [_tensors(view, class_weights) for view in train]
        self._val = _tensors(val, class_weights)
        self._num_classes = num_classes
        self._batch_size = batch_size
        self._patience = patience
        self._seed = seed
        self._layers = layers
        self._heads: dict[int, _Head] = {}

    def run(self, values: HeadValues, max_epochs: int) -> TrialResult:
        """Trains one head from its first weights."""
        started = time.monotonic()
        losses: list[float] = []
        entropies: list[float] = []
        best = 0
        for loss, entropy in self._epochs(values, max_epochs):
            losses.append(loss)
            entropies.append(entropy)
            if loss < losses[best]:
                best = len(losses) - 1
            # Nothing comes back from infinity.
            if not math.isfinite(loss) or len(losses) - 1 - best >= self._patience:
                break
        return TrialResult(
            objective=clip_objective(entropies[best], self._num_classes),
            epochs=len(losses),
            best_epoch=best + 1,
            seconds=time.monotonic() - started,
        )

    def weights(self, values: HeadValues, epochs: int) -> list[np.ndarray]:
        """Weights of a head after some epochs, in Keras's order."""
        for _ in self._epochs(values, epochs):
            pass
        return self._head(values.units).get_weights()

    def _epochs(self, values: HeadValues, epochs: int) -> Iterator[tuple[float, float]]:
        """Yields validation loss and cross-entropy after each epoch."""
        head = self._head(values.units)
        dropout_rates = head.reset(values.dropout)
        rates = [
            tf.constant(rate, tf.float32) for rate in (values.learning_rate, values.label_smoothing)
        ]
        for epoch in range(epochs):
            view = self._train[epoch % len(self._train)]
            seed = tf.constant([self._seed & 0x7FFFFFFF, epoch], tf.int32)
            head.begin_epoch(self._seed, epoch)
            loss, entropy = head.epoch(*view, *self._val, *rates, dropout_rates, seed)
            yield float(loss), float(entropy)

    def _head(self, units: int) -> "_Head":
        if units not in self._heads:
            build = functools.partial(self._build, units)
            self._heads[units] = _Head(build, self._num_classes, self._batch_size)
        return self._heads[units]

    def _build(self, units: int, dropout: float) -> keras.Model:
        """The head as fit 1 builds it: the same seed gives the same first weights."""
        make_deterministic(self._seed)
        pooled = keras.Input([self._val[0].shape[1]])
        return keras.Sequential([pooled, *self._layers(units, dropout, self._num_classes)])


def _dropout_layers(model: keras.Model) -> list[keras.layers.Dropout]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]


def _tensors(
    pooled: Pooled, class_weights: Sequence[float]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Inputs, label ids, and how much each image counts in the losses."""
    weighted = pooled.weighted(class_weights)
    return tuple(map(tf.constant, (weighted.vectors, weighted.labels, weighted.weights)))


class _Head:
    """A head of one width, its optimizer's state, and an epoch compiled for them."""

    def __init__(
        self,
        build: Callable[[float], keras.Model],
        num_classes: int,
        batch: int,
    ) -> None:
        self._build = build
        # With dropout; its rates are arguments of `epoch`, so that all trials share the graph.
        self._model = build(_ANY_DROPOUT)
        self._dropouts = _dropout_layers(self._model)
        self._generators = resume.repeatable_dropout(self._model)
        self._first: dict[float, tuple[list[np.ndarray], list[float]]] = {}
        self._variables = self._model.trainable_variables
        self._slots = [[tf.Variable(tf.zeros_like(v)) for v in self._variables] for _ in range(2)]
        self._num_classes = num_classes
        self._batch = batch

    def reset(self, dropout: float) -> tf.Tensor:
        """Back to fit 1's first weights and a fresh optimizer.

        Returns:
          The rate of each Dropout layer, float32; zero where fit 1 has no such layer.
        """
        if dropout not in self._first:
            model = self._build(dropout)
            rates = [layer.rate for layer in _dropout_layers(model)]
            self._first[dropout] = (model.get_weights(), rates or [0.0] * len(self._dropouts))
        weights, rates = self._first[dropout]
        self._model.set_weights(weights)
        for slot in (slot for slots in self._slots for slot in slots):
            slot.assign(tf.zeros_like(slot))
        return tf.constant(rates, tf.float32)

    def begin_epoch(self, seed: int, epoch: int) -> None:
        """Makes dropout draw as it does in this epoch of fit 1."""
        resume.reset_dropout(self._generators, seed, epoch)

    def get_weights(self) -> list[np.ndarray]:
        """All weights, in Keras's order."""
        return self._model.get_weights()

    @tf.function(reduce_retracing=True)
    def epoch(
        self,
        inputs: tf.Tensor,
        ids: tf.Tensor,
        weights: tf.Tensor,
        val_inputs: tf.Tensor,
        val_ids: tf.Tensor,
        val_weights: tf.Tensor,
        learning_rate: tf.Tensor,
        smoothing: tf.Tensor,
        dropout_rates: tf.Tensor,
        seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Trains on each vector once, in random order, then looks at the validation split.

        Returns:
          The mean loss and the mean cross-entropy without smoothing, on validation.
        """
        for number, layer in enumerate(self._dropouts):
            layer.rate = dropout_rates[number]
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.shape(inputs)[0]), seed)
        for begin in tf.range(0, tf.shape(inputs)[0], self._batch):
            batch = order[begin : begin + self._batch]
            with tf.GradientTape() as tape:
                logits = self._model(tf.gather(inputs, batch), training=True)
                answers = tf.gather(ids, batch), tf.gather(weights, batch)
                losses, _ = self._losses(logits, *answers, smoothing)
                loss = tf.reduce_mean(losses)
            self._step(tape.gradient(loss, self._variables), learning_rate)
        loss_sum, entropy_sum, total = 0.0, 0.0, 0.0
        for begin in tf.range(0, tf.shape(val_inputs)[0], _VAL_BATCH):
            logits = self._model(val_inputs[begin : begin + _VAL_BATCH], training=False)
            some = val_weights[begin : begin + _VAL_BATCH]
            losses, entropies = self._losses(
                logits, val_ids[begin : begin + _VAL_BATCH], some, smoothing
            )
            loss_sum += tf.reduce_sum(losses)
            entropy_sum += tf.reduce_sum(entropies)
            total += tf.reduce_sum(some)
        return loss_sum / total, entropy_sum / total

    def _losses(
        self, logits: tf.Tensor, ids: tf.Tensor, weights: tf.Tensor, smoothing: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Loss and cross-entropy of each image; the loss is Keras's with label smoothing."""
        entropies = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits)
        uniform = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        entropies, uniform = entropies * weights, uniform * weights
        return (1.0 - smoothing) * entropies + smoothing * uniform, entropies

    def _step(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """RMSprop as Keras computes it, in one pass over the weights instead of seven."""
        for variable, gradient, square, momentum in zip(
            self._variables, gradients, *self._slots, strict=True
        ):
            tf.raw_ops.ResourceApplyRMSProp(
                var=variable.handle,
                ms=square.handle,
                mom=momentum.handle,
                lr=learning_rate,
                rho=_RHO,
                momentum=0.0,
                epsilon=_EPSILON,
                grad=gradient,
            )
