"""A way round a wait at the end of TensorFlow's data iterators."""

import functools
from typing import Any

import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops


def without_autotune() -> tf.data.Options:
    """Options of a data set whose iterators end at once when they are dropped.

    tf.data tells an iterator's tuning thread to end shortly before it may: a thread that
    looks in between sleeps on, and the code that drops the iterator waits for as long again as it
    has lived, up to a minute (`Model::OptimizeLoop`, TensorFlow 2.21). A fit of 75 s then
    took 150.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def untune_device_iterators() -> None:
    """The same for the iterators that a strategy makes itself, one for each device.

    They take no options from the data set that they read. Calling it again changes nothing.
    """
    make = multi_device_iterator_ops._create_device_dataset
    if not hasattr(make, "__wrapped__"):
        multi_device_iterator_ops._create_device_dataset = _with_options(make)


def _with_options(make: Any) -> Any:
    @functools.wraps(make)
    def made(*arguments: Any, **named: Any) -> tf.data.Dataset:
        return make(*arguments, **named).with_options(without_autotune())

    return made
