"""Augmentation is of images: what the trunk made of them is read as it is."""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from trainer import keys
from trainer.data.card import DataCard
from trainer.job import Job
from trainer.job_data import unpooled_data
from trainer.specs import Augmentation, ModelSpec, TrunkSpec

SHAPE = (2, 2, 3)


def example(found: np.ndarray) -> bytes:
    content = tf.io.serialize_tensor(tf.constant(found, tf.float16)).numpy()
    feature = {
        keys.TRUNK: tf.train.Feature(bytes_list=tf.train.BytesList(value=[content])),
        keys.LABEL_ID: tf.train.Feature(int64_list=tf.train.Int64List(value=[0])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def test_kept_features_are_not_augmented_once_more(tmp_path):
    found = np.random.default_rng(0).normal(0, 100, [4, *SHAPE]).astype("float16")
    with tf.io.TFRecordWriter(str(tmp_path / "view-00-file")) as writer:
        for one in found:
            writer.write(example(one))
    job = Job(
        spec=ModelSpec("inception_v3", 75, 8, 0.0, num_classes=2),
        labels=["a", "b"],
        data_card=DataCard("", "", {"train": {"a": 4}}),
        train_files=[str(tmp_path / "*")],
        val_files=[str(tmp_path / "*")],
        global_batch_size=4,
        seed=0,
        precision="float32",
        cache=TrunkSpec("inception_v3", 75, "mixed8", "float16", "float32"),
        augmentation=Augmentation(flip=True, crop=0.5, colour=0.5),
        max_pixels=10**6,
        config={},
        model_dir="",
        saved_model_dir="",
        log_dir="",
    )

    trained_part = SimpleNamespace(input_shape=(None, *SHAPE))
    read = unpooled_data(job, trained_part, tf.distribute.get_strategy())

    inputs, _ = next(iter(read.train))
    assert sorted(one.tobytes() for one in inputs.numpy().astype("float16")) == sorted(
        one.tobytes() for one in found
    )
