"""How a fit is spread over devices and machines, and what its workers tell each other."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from trainer.distribution.iterators import untune_device_iterators
from trainer.distribution.shares import BatchShare
from trainer.errors import ThawError


class WorkersDiffer(ThawError):
    """Workers that should hold the same weights do not: the model would be chance's."""


@dataclass(frozen=True)
class Worker:
    """This process among those that run one job. Number 0 is the chief."""

    index: int
    count: int

    @property
    def is_chief(self) -> bool:
        """Whether this one exports, logs and reports progress."""
        return self.index == 0


def make_strategy() -> tf.distribute.Strategy:
    """The one strategy of both fits, from laptop to cluster.

    Without `TF_CONFIG` it is a single worker with all its local devices. Call it before
    any other TensorFlow operation of the process. With several workers it returns when
    all of them have called it.
    """
    untune_device_iterators()
    return tf.distribute.MultiWorkerMirroredStrategy()


def make_deterministic(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow, and refuses operations whose result varies."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def this_worker(strategy: tf.distribute.Strategy) -> Worker:
    """Where this process stands; the only worker where there is no cluster."""
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict() if resolver else {}
    chiefs, workers = len(cluster.get("chief", [])), len(cluster.get("worker", []))
    if chiefs + workers < 2:
        return Worker(0, 1)
    before = 0 if resolver.task_type == "chief" else chiefs
    return Worker(before + resolver.task_id, chiefs + workers)


def local_share(strategy: tf.distribute.Strategy) -> BatchShare:
    """What this process's devices do of every global batch."""
    worker = this_worker(strategy)
    count = strategy.num_replicas_in_sync // worker.count
    return BatchShare(strategy.num_replicas_in_sync, worker.index * count, count)


def spread(strategy: tf.distribute.Strategy, slices: tf.data.Dataset) -> Any:
    """What Keras and `strategy.run` take as batches of several replicas.

    Args:
      strategy: of more than one replica.
      slices: this process's, one for each of its replicas in turn.
    """
    return strategy.distribute_datasets_from_function(lambda context: slices)


def whole_batches(
    strategy: tf.distribute.Strategy,
    slices: tf.data.Dataset,
    compute: Callable[[tf.Tensor], tf.Tensor],
) -> Iterator[tuple[np.ndarray, ...]]:
    """Computes on slices, each replica on its own, and gives every worker all results.

    Args:
      strategy: of any number of replicas.
      slices: inputs, label ids, what else is known of the images, and of several replicas the
        rows' weights.
      compute: of a slice's inputs, without side effects: [n, …] to [n, …].

    Yields:
      Results, int64 label ids, and what else is known, of each global batch, in its order.
    """

    def on_one(inputs: tf.Tensor, *others: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return compute(inputs), *others

    if strategy.num_replicas_in_sync == 1:
        run = tf.function(on_one, autograph=False, reduce_retracing=True)
        for batch in slices:
            yield tuple(one.numpy() for one in run(*batch))
        return

    @tf.function(autograph=False)
    def run_all(*batch: Any) -> list[tf.Tensor]:
        return [strategy.gather(one, axis=0) for one in strategy.run(on_one, batch)]

    for batch in spread(strategy, slices):
        *columns, weights = (one.numpy() for one in run_all(*batch))
        yield tuple(column[weights > 0] for column in columns)


def from_chief(strategy: tf.distribute.Strategy, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The chief's float32 arrays, to the last bit, on every worker. All call it together."""
    if this_worker(strategy).count == 1:
        return list(arrays)

    def add(values: list[tf.Tensor]) -> list[tf.Tensor]:
        replica = tf.distribute.get_replica_context()
        first = tf.equal(replica.replica_id_in_sync_group, 0)
        values = [tf.where(first, value, tf.zeros_like(value)) for value in values]
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, values)

    run = tf.function(lambda values: strategy.run(add, (values,)), autograph=False)
    found = run([tf.constant(array) for array in arrays])
    return [strategy.experimental_local_results(one)[0].numpy() for one in found]


def exchange(strategy: tf.distribute.Strategy, value: int) -> list[int]:
    """Each worker's value, in their order; a worker waits here until all have called it."""
    worker = this_worker(strategy)
    if worker.count == 1:
        return [value]
    mine = tf.constant([value], tf.int64)

    @tf.function(autograph=False)
    def run() -> tf.Tensor:
        return strategy.gather(strategy.run(lambda: mine), axis=0)

    return run().numpy()[:: strategy.num_replicas_in_sync // worker.count].tolist()


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns on every worker once all have called it."""
    exchange(strategy, 0)


def check_same_weights(strategy: tf.distribute.Strategy, weights: Sequence[np.ndarray]) -> str:
    """Checks that all workers hold the same weights. All call it together.

    Returns:
      A digest of the weights, hexadecimal.

    Raises:
      WorkersDiffer: if one of them holds others.
    """
    digest = hashlib.sha256(b"".join(array.tobytes() for array in weights)).digest()
    # As many bytes as a signed integer takes.
    found = exchange(strategy, int.from_bytes(digest[:7], "big"))
    others = [index for index, one in enumerate(found) if one != found[0]]
    if others:
        raise WorkersDiffer(
            f"after the fit, worker {others[0]} of {len(found)} holds other weights than the "
            "chief.\n  All must run the same version of this project and read the same files, "
            "on machines of one kind."
        )
    return digest.hex()
