"""No data set of ours, nor what a strategy makes of it, has the tuning that ends late."""

import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops

from trainer.data.fit_data import make_fit_data, read_records
from trainer.distribution.strategy import make_strategy


def numbers() -> tf.data.Dataset:
    return tf.data.Dataset.range(8)


def parse(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cast(number, tf.float32), number % 2


def test_neither_training_nor_validation_data_is_tuned():
    made = make_fit_data([numbers()], numbers(), parse, 8, 4, 2, seed=0)

    assert made.train_from(0).options().autotune.enabled is False
    assert made.val.options().autotune.enabled is False


def test_records_that_are_read_one_by_one_are_not_tuned(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "records")) as writer:
        writer.write(b"a")

    found = read_records([str(tmp_path / "records")])

    assert found.options().autotune.enabled is False
    assert list(found.as_numpy_iterator()) == [b"a"]


def test_iterators_that_the_strategy_makes_are_not_tuned(monkeypatch):
    strategy = make_strategy()
    make = multi_device_iterator_ops._create_device_dataset
    made = []

    def recorded(*arguments):
        made.append(make(*arguments))
        return made[-1]

    monkeypatch.setattr(multi_device_iterator_ops, "_create_device_dataset", recorded)
    read = [int(number) for number in strategy.experimental_distribute_dataset(numbers())]

    assert read == list(range(8))
    assert [one.options().autotune.enabled for one in made] == [False]
