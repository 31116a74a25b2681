"""Resumes a fit after its process was lost, to end with the same weights.

At an epoch's end the chief writes down all that the next epoch depends on: weights, the
optimizer's slots, early stopping's memory, the history. A data set's position need not be
kept, for `FitData.train_from` begins with any pass; nor dropout's, which begins again with
every epoch (`repeatable_dropout`). So an epoch is what can be lost.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_keras.src import backend

from trainer.distribution.strategy import exchange, this_worker
from trainer.fits.checkpoint import State, read_newest, read_state, write_state
from trainer.process import supervision, watchdog

# Where one worker does all, writing after each epoch could take longer than the epoch.
_ALONE_EVERY_SECS = 10.0

# Of the 30 s that Kubernetes and spot machines leave after SIGTERM.
GRACE_SECS = 15.0


@dataclass(frozen=True)
class CheckpointSpec:
    """Where the state of one fit is kept.

    Attributes:
      directory: of this fit alone, reached by all workers; empty: nothing is kept.
      seed: dropout's.
    """

    directory: str = ""
    seed: int = 0


NO_CHECKPOINT = CheckpointSpec()


class FitCheckpointer(keras.callbacks.Callback):
    """Saves a fit's state and resumes from the saved one. Comes after `stopper` in the callbacks.

    Attributes:
      epochs: completed ones, of this process and those before it.
      finished: whether there is nothing left to fit.
      history: a value an epoch, of all of them.
      seconds: that all processes spent on it.
    """

    def __init__(
        self,
        checkpoint: CheckpointSpec,
        fitted: keras.Model,
        stopper: keras.callbacks.EarlyStopping,
        max_epochs: int,
    ) -> None:
        """Reads what an earlier process has kept. All workers call it together.

        Args:
          checkpoint: where to keep it.
          fitted: the compiled model, whose weights are still those that the fit starts from.
          stopper: which decides on the end and holds the best weights.
          max_epochs: of the whole fit.

        Raises:
          RuntimeError: if this worker cannot read what the chief can.
        """
        super().__init__()
        self._supports_tf_logs = True  # or each step would wait for its metrics' values
        worker = this_worker(fitted.distribute_strategy)
        self._writes = bool(checkpoint.directory) and worker.is_chief
        self._every_secs = _ALONE_EVERY_SECS if worker.count == 1 else 0.0
        self._worker = worker.index
        self._checkpoint = checkpoint
        self._stopper = stopper
        self._max_epochs = max_epochs
        self._dropouts = repeatable_dropout(fitted)
        self._found = _agreed_state(checkpoint, fitted)
        self._unwritten: State | None = None
        self._written_at = self._epoch_started = self._started = time.monotonic()
        self._resume()
        if self.epochs:
            print(f"resumes after epoch {self.epochs}, from {checkpoint.directory}", flush=True)

    def _resume(self) -> None:
        found = self._found
        self.epochs = found.epochs if found else 0
        self.finished = bool(found and found.finished)
        self.history = {name: list(v) for name, v in found.history.items()} if found else {}
        self.seconds = found.seconds if found else 0.0
        if found:
            for name in ("best", "best_epoch", "wait", "stopped_epoch", "best_weights"):
                setattr(self._stopper, name, getattr(found, name))

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Puts everything back; `stopper` has just forgotten what it knew."""
        self._started = time.monotonic()
        self._resume()
        if self._found:
            self.model.set_weights(self._found.weights)
            self.model.optimizer.build(self.model.trainable_variables)
            for variable, value in zip(
                _variables(self.model.optimizer), self._found.slots, strict=True
            ):
                variable.assign(value)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Makes this epoch's dropout the same, whatever came before it."""
        self._epoch_started = time.monotonic()
        reset_dropout(self._dropouts, self._checkpoint.seed, epoch, self._worker)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Ends, if preempted, unless the epoch will soon be complete."""
        watchdog.heartbeat()
        if supervision.preemption_requested():
            # At once: the grace period may be shorter than we hope for.
            self._write_kept()
            if not self._ends_soon(batch + 1):
                raise supervision.Preempted(self._farewell())

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """A sign of life."""
        watchdog.heartbeat()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keeps the state; ends, if preempted."""
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        agree_on_statistics(self.model)
        self.epochs = epoch + 1
        self.finished = self.model.stop_training or self.epochs == self._max_epochs
        if self._checkpoint.directory:
            # Some weights are means over all workers: each takes part, though one writes.
            self._unwritten = self._state()
            due = time.monotonic() - self._written_at >= self._every_secs
            if due or self.finished or supervision.preemption_requested():
                self._write_kept()
        if supervision.preemption_requested() and not self.finished:
            raise supervision.Preempted(self._farewell())

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Counts the time."""
        self.seconds = self._seconds()

    def _seconds(self) -> float:
        before = self._found.seconds if self._found else 0.0
        return before + time.monotonic() - self._started

    def _ends_soon(self, steps_done: int) -> bool:
        """Whether the rest of the epoch's steps takes less than the grace period."""
        each = (time.monotonic() - self._epoch_started) / steps_done
        return each * (self.params["steps"] - steps_done) < GRACE_SECS

    def _farewell(self) -> str:
        kept = f"{self.epochs} epochs are kept" if self._checkpoint.directory else "nothing is kept"
        return f"preempted (SIGTERM): {kept}, the next start resumes from there."

    def _state(self) -> State:
        stopper = self._stopper
        return State(
            epochs=self.epochs,
            finished=self.finished,
            seconds=self._seconds(),
            history=self.history,
            best=float(stopper.best),
            best_epoch=int(stopper.best_epoch),
            wait=int(stopper.wait),
            stopped_epoch=int(stopper.stopped_epoch),
            weights=self.model.get_weights(),
            slots=[variable.numpy() for variable in _variables(self.model.optimizer)],
            best_weights=stopper.best_weights,
        )

    def _write_kept(self) -> None:
        if self._writes and self._unwritten:
            write_state(self._unwritten, self._checkpoint.directory)
        self._unwritten = None
        self._written_at = time.monotonic()


def _variables(optimizer: keras.optimizers.Optimizer) -> list[tf.Variable]:
    """Everything in an optimizer that changes, float16's loss scale included."""
    scale = getattr(optimizer, "_loss_scale", None)
    return [*optimizer.variables, *([scale.current_loss_scale, scale.counter] if scale else [])]


def agree_on_statistics(model: keras.Model) -> None:
    """Averages the replicas' BatchNorm moving statistics and assigns the mean to all of them.

    The mean is what a checkpoint holds, and a resumed fit must begin with the same values as
    one that was not interrupted.
    """
    if model.distribute_strategy.num_replicas_in_sync == 1:
        return
    for variable in model.weights:
        if variable.synchronization == tf.VariableSynchronization.ON_READ:
            variable.assign(variable.numpy())


def repeatable_dropout(model: keras.Model) -> list[tf.random.Generator]:
    """Makes dropout draw from generators that can be set, and returns them.

    Keras's default is an operation with a hidden state that nobody can put back. Replicas
    of one process drop alike.
    """
    found = []
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Dropout):
            with model.distribute_strategy.scope():
                source = backend.RandomGenerator(seed=0, rng_type="stateful")
                source._maybe_init()
            layer._random_generator = source
            found.append(source._generator)
    return found


def reset_dropout(
    generators: Sequence[tf.random.Generator], seed: int, epoch: int, worker: int = 0
) -> None:
    """Sets the generators of `repeatable_dropout` to the beginning of an epoch."""
    for number, generator in enumerate(generators):
        sequence = np.random.SeedSequence([seed, epoch, worker, number])
        generator.reset_from_seed(int(sequence.generate_state(1, np.uint32)[0]))


def _agreed_state(checkpoint: CheckpointSpec, fitted: keras.Model) -> State | None:
    """The newest state that the chief can read, on every worker."""
    if not checkpoint.directory:
        return None
    strategy = fitted.distribute_strategy
    shapes = [array.shape for array in fitted.get_weights()]
    found = None
    if this_worker(strategy).is_chief:
        found = read_newest(checkpoint.directory, shapes)
    # Not what each finds: a shared file system may show them different files.
    epochs = exchange(strategy, found.epochs if found else 0)[0]
    if epochs and not found:
        found = read_state(checkpoint.directory, epochs)
    return found
