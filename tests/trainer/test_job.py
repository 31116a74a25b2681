"""Whole training jobs of the real InceptionV3 at 75 px, each in a process of its own."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from trainer import features
from trainer.images import serialize_image
from trainer.job import WEIGHTS_FILE

from .conftest import weights_in

pytestmark = pytest.mark.slow

SIZE_PX = 75
JOB = """
import json, sys
import trainer
from trainer.augment import NO_CHANGE
from trainer.data_card import DataCard
from trainer.fits import FineTune, HeadFit
from trainer.job import Job, run_fine_tune, run_head_fit
from trainer.model import ModelSpec
data, folder, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
def job(name):
    model_dir = f"{folder}/{name}"
    return Job(
        spec=ModelSpec("inception_v3", 75, 2, 8, 0.0), labels=["a", "b"],
        data_card=DataCard("", "", {"train": {"a": 8, "b": 8}}),
        train_files=[f"{data}/train*"], val_files=[f"{data}/val*"],
        global_batch_size=8, seed=seed, precision="float32", cache=None,
        augmentation=NO_CHANGE, max_pixels=10**6, config={}, model_dir=model_dir,
        saved_model_dir=f"{model_dir}/Format-Serving", log_dir=f"{model_dir}/log")
run_head_fit(job("head"), HeadFit(1e-3, 2, 2), "random")
if len(sys.argv) > 4:
    run_fine_tune(job("top"), FineTune("mixed9", "mixed9", 1e-3, 0.9, 2, 2), f"{folder}/head")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 8)):
        with tf.io.TFRecordWriter(str(folder / f"{split}.gz"), "GZIP") as writer:
            for number in range(count):
                writer.write(example(random.integers(0, 256, [SIZE_PX] * 2 + [3]), number % 2))
    return folder


def example(pixels: np.ndarray, label_id: int) -> bytes:
    image = serialize_image(tf.constant(pixels.astype("uint8"))).numpy()
    feature = {
        features.IMAGE: tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        features.LABEL_ID: tf.train.Feature(int64_list=tf.train.Int64List(value=[label_id])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


@pytest.fixture(scope="module")
def train(data, tmp_path_factory):
    def run(seed: int, *more: str):
        folder = tmp_path_factory.mktemp("models")
        command = [sys.executable, "-c", textwrap.dedent(JOB), data, folder, str(seed), *more]
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
        return folder

    return run


def test_one_seed_gives_identical_weights_after_both_fits_and_another_seed_does_not(train):
    first, second, other = train(7, "both"), train(7, "both"), train(8)

    for fit in ("head", "top"):
        one, two = (
            weights_in(run / fit / "warm_start/classifier.weights.h5") for run in (first, second)
        )
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[name], two[name]) for name in one)
    one, three = (weights_in(run / "head" / WEIGHTS_FILE) for run in (first, other))
    assert any(not np.array_equal(one[name], three[name]) for name in one)
    history = json.loads((first / "top" / "history.json").read_text())
    assert history["frozen_layers"] == 280
    assert len(history["history"]["val_loss"]) == 2
