"""The two fits: a new head on a frozen backbone, then the top blocks too."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
import tf_keras as keras

from trainer.backbones.networks import batch_norm_layers
from trainer.data.fit_data import FitData
from trainer.fit_specs import FineTune, HeadFit, fast_epochs
from trainer.fits import mixing, resume, weight_checks
from trainer.fits.global_mean import GlobalBatchModel, cross_entropy
from trainer.fits.record import FitRecord, Mixing, Solved
from trainer.model.classifier import freeze, on_pooled, thaw_above
from trainer.process import progress, supervision, watchdog

CROSS_ENTROPY = "cross_entropy"

_WARM_UP = 0.2  # share of the steps in which the rate of `fast` rises


@dataclass(frozen=True)
class Network:
    """A classifier, and the part of it that a fit trains.

    Attributes:
      classifier: from `build_classifier`, made under the strategy in use.
      backbone: the same backbone object that is inside the classifier.
      trained_part: what is fitted: the classifier itself, or the part of it from the trunk's
        output or from the pooled vector on, sharing its weights.
    """

    classifier: keras.Model
    backbone: keras.Model
    trained_part: keras.Model


def fit_head(
    network: Network,
    data: FitData,
    fit: HeadFit,
    log_dir: str | None,
    checkpoint: resume.CheckpointSpec = resume.NO_CHECKPOINT,
    *,
    class_weights: Sequence[float] = (),
) -> FitRecord:
    """Fit 1: trains the head on the frozen backbone and keeps the best epoch's weights.

    Args:
      network: changed in place.
      data: batches to train on and to watch, of what `network.trained_part` takes.
      fit: rates and patience.
      log_dir: TensorBoard logs go here; None: neither logs nor reports of progress.
      checkpoint: where to keep the state of the fit, and to look for that of an interrupted one.
      class_weights: how much an image counts in the losses, by label id; empty: all alike.

    Raises:
      UnexpectedWeights: if a backbone weight moved or a head weight did not.
    """
    freeze(network.backbone)
    optimizer = keras.optimizers.RMSprop(fit.learning_rate)
    frozen_layers = len(network.backbone.layers)
    return _fit(network, data, optimizer, fit, log_dir, checkpoint, frozen_layers, class_weights)


def keep_solved_head(
    network: Network,
    data: FitData,
    fit: HeadFit,
    weights: Sequence[np.ndarray],
    solved: Solved | None,
    *,
    class_weights: Sequence[float] = (),
) -> FitRecord:
    """Fit 1 where the head was solved: puts the weights in and looks at both splits once.

    Args as for `fit_head`, and:
      weights: of the head.
      solved: how they were found.
    """
    started = time.monotonic()
    freeze(network.backbone)
    fitted = _compile(network, keras.optimizers.RMSprop(), fit, class_weights)
    fitted.set_weights(list(weights))
    train = fitted.evaluate(data.train, steps=data.train_steps, verbose=0, return_dict=True)
    val = fitted.evaluate(data.val, steps=data.val_steps, verbose=0, return_dict=True)
    looked = {**train, **{f"val_{name}": value for name, value in val.items()}}
    return FitRecord(
        history={name: [_finite(value)] for name, value in looked.items()},
        best_epoch=1,
        stopped_early=False,
        seconds=time.monotonic() - started,
        trainable_parameters=_count(network.classifier.trainable_weights),
        frozen_parameters=_count(network.classifier.non_trainable_weights),
        frozen_layers=len(network.backbone.layers),
        solved=solved,
    )


def fine_tune(
    network: Network,
    data: FitData,
    fit: FineTune,
    log_dir: str | None,
    checkpoint: resume.CheckpointSpec = resume.NO_CHECKPOINT,
    *,
    boundary_layer: str,
    class_weights: Sequence[float] = (),
    start_head: Sequence[np.ndarray] | None = None,
) -> FitRecord:
    """Fit 2: thaws the layers above the boundary and continues from fit 1's weights.

    Args and errors as for `fit_head`; `boundary_layer` is the layer that `fit.boundary` names
    in this backbone. `start_head` are weights of the head to start from in place of those that it
    has; the mixture afterwards is one with the latter. Statistics of BatchNorm layers stay as they
    are unless `fit.train_batch_norm` is set and the model was built for it.
    """
    if fit.is_fast and not fit.max_epochs:
        fit = replace(fit, max_epochs=fast_epochs(data.train_steps))
    frozen_layers = thaw_above(network.backbone, boundary_layer)
    optimizer = _fine_tune_optimizer(fit, data.train_steps)
    free = _statistics_above(network.backbone, frozen_layers) if fit.train_batch_norm else ()
    record = _fit(
        network,
        data,
        optimizer,
        fit,
        log_dir,
        checkpoint,
        frozen_layers,
        class_weights,
        free,
        start_head,
    )
    return replace(record, boundary=fit.boundary)


def _fine_tune_optimizer(fit: FineTune, steps: int) -> keras.optimizers.Optimizer:
    """SGD, or AdamW (Loshchilov and Hutter 2019) with a linear warm-up and a cosine to 0."""
    if not fit.is_fast:
        return keras.optimizers.SGD(fit.learning_rate, momentum=fit.momentum)
    total = steps * fit.max_epochs
    warm_up = max(1, int(_WARM_UP * total))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, total - warm_up), warmup_target=fit.learning_rate, warmup_steps=warm_up
    )
    return keras.optimizers.AdamW(rate, weight_decay=fit.weight_decay)


def _statistics_above(backbone: keras.Model, num_frozen: int) -> list[str]:
    thawed = {layer.name for layer in backbone.layers[num_frozen:]}
    layers = [layer for layer in batch_norm_layers(backbone) if layer.name in thawed]
    return [weight.name for layer in layers for weight in layer.non_trainable_weights]


def _fit(
    network: Network,
    data: FitData,
    optimizer: keras.optimizers.Optimizer,
    fit: HeadFit | FineTune,
    log_dir: str | None,
    checkpoint: resume.CheckpointSpec,
    frozen_layers: int,
    class_weights: Sequence[float],
    may_move: Iterable[str] = (),
    start_head: Sequence[np.ndarray] | None = None,
) -> FitRecord:
    classifier = network.classifier
    fitted = _compile(network, optimizer, fit, class_weights)
    before, first_weights = weight_checks.snapshot(classifier), fitted.get_weights()
    if start_head:
        on_pooled(classifier).set_weights(start_head)
    is_fast = isinstance(fit, FineTune) and fit.is_fast
    # Never, if the rate is to have fallen to 0 by the last epoch.
    patience = fit.max_epochs if is_fast else fit.patience
    stopper = keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)
    callbacks = [stopper]
    if log_dir:
        callbacks.append(keras.callbacks.TensorBoard(log_dir, write_graph=False))
        callbacks.append(_Progress(fit.max_epochs, data.train_steps))
    checkpointer = resume.FitCheckpointer(checkpoint, fitted, stopper, fit.max_epochs)
    if not checkpointer.finished:
        with supervision.defer_preemption():
            fitted.fit(
                data.train_from(checkpointer.epochs),
                steps_per_epoch=data.train_steps,
                validation_data=data.val,
                validation_steps=data.val_steps,
                epochs=fit.max_epochs,
                initial_epoch=checkpointer.epochs,
                callbacks=[*callbacks, checkpointer],
                verbose=0,
            )
    # Keras puts the best weights back only if it stopped early, not after the last epoch.
    fitted.set_weights(stopper.best_weights)
    weight_checks.check_fit_moved(before, classifier, optimizer, may_move)
    mixed = _mix_in(fitted, first_weights, data) if is_fast else None
    return FitRecord(
        history={
            name: [_finite(x) for x in values] for name, values in checkpointer.history.items()
        },
        best_epoch=stopper.best_epoch + 1,
        stopped_early=stopper.stopped_epoch > 0,
        seconds=checkpointer.seconds,
        trainable_parameters=_count(classifier.trainable_weights),
        frozen_parameters=_count(classifier.non_trainable_weights),
        frozen_layers=frozen_layers,
        mixing=mixed,
    )


def _compile(
    network: Network,
    optimizer: keras.optimizers.Optimizer,
    fit: HeadFit | FineTune,
    class_weights: Sequence[float],
) -> GlobalBatchModel:
    part = network.trained_part
    with part.distribute_strategy.scope():
        fitted = GlobalBatchModel(part.inputs, part.outputs, fit.label_smoothing, class_weights)
        fitted.compile(
            optimizer=optimizer,
            weighted_metrics=[
                cross_entropy("loss", fit.label_smoothing, class_weights),
                "accuracy",
                # The loss holds label smoothing: of fits that differ in it, this tells the better.
                cross_entropy(CROSS_ENTROPY, 0.0, class_weights),
            ],
        )
    return fitted


def _mix_in(fitted: GlobalBatchModel, before: Sequence[np.ndarray], data: FitData) -> Mixing:
    """Leaves in the model the mixture with `before` that validation prefers."""

    def loss_of(weights: mixing.Weights) -> float:
        watchdog.heartbeat()
        fitted.set_weights(list(weights))
        found = fitted.evaluate(data.val, steps=data.val_steps, verbose=0, return_dict=True)
        return float(found["loss"])

    weights, record = mixing.choose_share(before, fitted.get_weights(), loss_of)
    fitted.set_weights(list(weights))
    return record


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _count(weights: list[tf.Variable]) -> int:
    return int(sum(np.prod(weight.shape) for weight in weights))


class _Progress(keras.callbacks.Callback):
    """Reports epochs, and the share of the one at work."""

    def __init__(self, max_epochs: int, steps: int) -> None:
        super().__init__()
        self._counter = progress.Counter("epochs", max_epochs)
        self._steps = steps
        self._epoch = 0
        self._detail = ""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        # Validation is one step more: the epoch is not over before it.
        share = (batch + 1) / (self._steps + 1)
        self._counter.reach(round(self._epoch + share, 3), self._detail)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        self._detail = (
            f"val loss {logs.get('val_loss', math.nan):.3f}, "
            f"val accuracy {logs.get('val_accuracy', math.nan):.3f}"
        )
        self._counter.reach(epoch + 1, self._detail)
