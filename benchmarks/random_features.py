"""What TrunkFeatures would leave, of random values: for benchmarks whose time is the fits'."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer import keys


def write_random_features(
    path: Path, count: int, shape: tuple[int, ...], num_classes: int, seed: int
) -> None:
    """Writes `count` examples of float16 `shape` as TFRecords; labels take turns."""
    random = np.random.default_rng(seed)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(count):
            values = np.maximum(random.normal(size=shape), 0).astype("float16")
            example = tf.train.Example()
            content = tf.io.serialize_tensor(values).numpy()
            example.features.feature[keys.TRUNK].bytes_list.value.append(content)
            example.features.feature[keys.LABEL_ID].int64_list.value.append(number % num_classes)
            writer.write(example.SerializeToString())
