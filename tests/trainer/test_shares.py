"""How global batches are cut: every image once, whatever the batch and the replicas."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data import fit_data as data
from trainer.distribution.shares import ALL, BatchShare
from trainer.distribution.strategy import Worker, local_share, this_worker

BATCH_SIZES = st.integers(1, 40)


@given(st.data(), BATCH_SIZES, st.integers(1, 7), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_slices_hold_each_image_once_in_order_and_fill_up_with_some_of_them(
    drawn, batch_size, processes, each
):
    found = drawn.draw(st.integers(1, batch_size), label="images in the batch")
    replicas = processes * each
    batch = tf.range(100, 100 + found)
    shares = [BatchShare(replicas, each * process, each) for process in range(processes)]

    taken = [share.take(batch_size, batch, tf.strings.as_string(batch)) for share in shares]

    weights, numbers, names = (np.concatenate(parts) for parts in zip(*taken, strict=True))
    assert numbers[weights > 0].tolist() == batch.numpy().tolist()
    assert set(weights[weights > 0]) == {np.float32(1.0) / np.float32(found)}
    assert set(numbers) <= set(batch.numpy())
    assert [int(name) for name in names] == numbers.tolist()
    assert {len(part[0]) for part in taken} == {each * shares[0].slice_size(batch_size)}


def numbers(count: int) -> tf.data.Dataset:
    return tf.data.Dataset.range(100, 100 + count)


def fit_data(share: BatchShare, count: int, batch_size: int) -> data.FitData:
    return data.make_fit_data(
        [numbers(count)],
        numbers(count),
        lambda record: (record, record % 2),
        num_train=count,
        batch_size=batch_size,
        num_classes=2,
        seed=3,
        share=share,
        num_val=count,
    )


def whole(batches: tf.data.Dataset, steps: int) -> list[list[int]]:
    """The inputs of each global batch that one replica gets."""
    return [inputs.numpy().tolist() for inputs, *_ in batches.take(steps)]


def joined(slices: list[tf.data.Dataset], steps: int, each: int) -> list[list[int]]:
    """The inputs that count, of each global batch, of all processes of `each` replicas."""
    found: list[list[int]] = [[] for _ in range(steps)]
    for process in slices:
        for number, (inputs, one_hot, weights) in enumerate(process.take(steps * each)):
            counts = weights.numpy() > 0
            found[number // each] += inputs.numpy()[counts].tolist()
            np.testing.assert_array_equal(one_hot, np.eye(2)[inputs.numpy() % 2])
    return found


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("processes", "each"), [(2, 1), (3, 1), (2, 2)])
@pytest.mark.parametrize(("count", "batch_size"), [(26, 8), (3, 8), (5, 1)])
def test_all_processes_together_read_the_batches_of_one(
    split: str, each: int, processes: int, count: int, batch_size: int
):
    shares = [BatchShare(processes * each, each * process, each) for process in range(processes)]
    one = fit_data(ALL, count, batch_size)
    several = [fit_data(share, count, batch_size) for share in shares]
    steps = one.train_steps

    passes = 2 if split == "train" else 1
    expected = whole(getattr(one, split), passes * steps)
    found = joined([getattr(part, split) for part in several], passes * steps, each)

    assert found == expected
    assert all(part.val_steps == steps for part in several)


def test_slices_have_one_shape_and_no_end():
    part = fit_data(BatchShare(3, 1, 1), 26, 8)

    for batches in (part.train, part.val):
        assert batches.element_spec[0].shape == [3]
        assert batches.cardinality() == tf.data.INFINITE_CARDINALITY


def test_several_replicas_must_know_how_many_images_there_are_to_watch():
    with pytest.raises(ValueError, match="how many validation images"):
        data.make_fit_data(
            [numbers(4)], numbers(4), lambda x: (x, x), 4, 2, 2, 0, share=BatchShare(2, 0, 1)
        )


class Resolver:
    """What a strategy knows of its cluster, in place of one that meets other processes."""

    def __init__(self, task_type: str, task_id: int, cluster: dict[str, list[str]]) -> None:
        self.task_type, self.task_id, self._cluster = task_type, task_id, cluster

    def cluster_spec(self) -> tf.train.ClusterSpec:
        return tf.train.ClusterSpec(self._cluster)


@pytest.fixture
def strategy_of() -> Callable[..., object]:
    class Strategy:
        def __init__(self, replicas: int, resolver: Resolver) -> None:
            self.num_replicas_in_sync, self.cluster_resolver = replicas, resolver

    return lambda replicas, *resolver: Strategy(replicas, Resolver(*resolver))


THREE = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}


@pytest.mark.parametrize(
    ("task", "worker", "share"),
    [
        (("chief", 0, THREE), Worker(0, 3), BatchShare(6, 0, 2)),
        (("worker", 1, THREE), Worker(2, 3), BatchShare(6, 4, 2)),
        (("worker", 1, {"worker": ["a:1", "b:1", "c:1"]}), Worker(1, 3), BatchShare(6, 2, 2)),
        (("chief", 0, {"chief": ["a:1"]}), Worker(0, 1), BatchShare(6, 0, 6)),
    ],
)
def test_place_among_the_workers_follows_the_cluster(strategy_of, task, worker, share):
    strategy = strategy_of(6, *task)

    assert this_worker(strategy) == worker
    assert local_share(strategy) == share


def test_without_a_cluster_there_is_one_worker_which_does_everything(strategy):
    assert this_worker(strategy) == Worker(0, 1)
    assert local_share(strategy) == ALL
    assert this_worker(tf.distribute.get_strategy()) == Worker(0, 1)
