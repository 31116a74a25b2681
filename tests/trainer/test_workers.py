"""Both fits by one, two and three workers: real processes that share every global batch.

26 images to train on in batches of 8: three full ones and a last one of 2, of which one of
two workers gets both, and of three workers two get none. All lie in one file, fewer than
there are workers. The 11 to watch lie in three files, one of them empty.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from launchers.local.launcher import LocalLauncher
from launchers.worker_group import Limits, WorkerGroup
from trainer import keys
from trainer.backbones.networks import calibrate_batch_norm, preprocess_input
from trainer.backbones.table import BACKBONES
from trainer.data.card import DataCard, write_card
from trainer.earlier_head import WEIGHTS_FILE
from trainer.fits.record import HISTORY_FILE
from trainer.model.weight_files import save_weights

from ..image_examples import image_example, noise, write_shard
from .conftest import SIZE_PX, tiny_backbone, weights_in
from .fits_of_workers import BOUNDARY

pytestmark = pytest.mark.slow

PROGRAM = "tests.trainer.fits_of_workers"
SIZES = {"train": [26], "val": [7, 0, 4]}
BATCH = 8

# Workers add up their gradients in another order than one does. Measured where this was
# written: 6e-8 in a weight and 1.2e-7 in a loss, after fits that move weights by 5e-3 and more.
CLOSE = 1e-6


@dataclass(frozen=True)
class Trained:
    """What the workers of one start left."""

    folder: Path
    workers: int

    def weights(self, fit: str) -> dict[str, np.ndarray]:
        return weights_in(self.folder / fit / WEIGHTS_FILE)

    def record(self, fit: str) -> dict[str, Any]:
        return json.loads((self.folder / fit / HISTORY_FILE).read_text())

    def history(self, fit: str) -> dict[str, list[float]]:
        return self.record(fit)["history"]

    def digests(self) -> list[list[str]]:
        """Of each worker, in the order of the fits."""
        return [
            (self.folder / f"digests-{index}").read_text().split() for index in range(self.workers)
        ]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, str]:
    """Noise, that of one class redder; weights of a backbone; what its trunk makes of noise."""
    folder = tmp_path_factory.mktemp("data")
    backbone = tiny_backbone()
    trunk = keras.Model(backbone.input, backbone.get_layer(BOUNDARY).output)
    for split, sizes in SIZES.items():
        for number, size in enumerate(sizes):
            pixels = noise(size, SIZE_PX, seed=number) // 2
            pixels[1::2, :, :, 0] += 60
            scaled = preprocess_input(BACKBONES["inception_v3"])(pixels.astype("float32"))
            if (split, number) == ("train", 0):
                calibrate_batch_norm(backbone, tf.constant(scaled))
            name = f"Split-{split}/part-{number}.gz"
            write_shard(folder / "images" / name, [_image(one, i) for i, one in enumerate(pixels)])
            made = trunk(scaled, training=False) if size else []
            write_shard(folder / "features" / name, [_made(one, i) for i, one in enumerate(made)])
    counts = {split: {"ant": sum(sizes)} for split, sizes in SIZES.items()}
    for kind in ("images", "features"):
        write_card(DataCard("", "", counts), str(folder / kind))
    save_weights(backbone, str(folder / "backbone.h5"))
    return {
        "images": str(folder / "images"),
        "features": str(folder / "features"),
        "weights": str(folder / "backbone.h5"),
    }


def _weight(number: int) -> float:
    return 1.0 + number % 3


def _image(pixels: np.ndarray, number: int) -> bytes:
    return image_example(pixels, str(number), number % 2).SerializeToString()


def _made(values: tf.Tensor, number: int) -> bytes:
    example = tf.train.Example()
    content = tf.io.serialize_tensor(values).numpy()
    example.features.feature[keys.TRUNK].bytes_list.value.append(content)
    example.features.feature[keys.LABEL_ID].int64_list.value.append(number % 2)
    example.features.feature[keys.WEIGHT].float_list.value.append(_weight(number))
    return example.SerializeToString()


@pytest.fixture(scope="module")
def train(data, tmp_path_factory) -> Callable[..., Trained]:
    def run(workers: int, *jobs: str) -> Trained:
        folder = tmp_path_factory.mktemp(f"workers-{workers}")
        request = folder / "request.json"
        values = {"folder": str(folder), "batch_size": BATCH, "jobs": jobs, **data}
        request.write_text(json.dumps(values))
        logs = str(folder / "logs")
        group = WorkerGroup("test-fits", str(request), workers, logs, Limits(max_restarts=0))
        LocalLauncher([sys.executable, "-m", PROGRAM]).run(group)
        return Trained(folder, workers)

    return run


@pytest.fixture(scope="module")
def one(train) -> Trained:
    return train(1, "on_features", "on_images", "weighted", "fast")


@pytest.fixture(scope="module")
def two(train) -> Trained:
    return train(2, "on_features", "on_images", "weighted", "batch_norm", "fast")


@pytest.fixture(scope="module")
def three(train) -> Trained:
    return train(3, "on_features")


@pytest.fixture(scope="module", params=[2, 3])
def several(request) -> Trained:
    return request.getfixturevalue({2: "two", 3: "three"}[request.param])


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of two sets of numbers by name."""
    assert one.keys() == other.keys()
    return max(float(np.max(np.abs(np.subtract(one[name], other[name])))) for name in one)


@pytest.mark.parametrize("fit", ["on_features/head", "on_features/top"])
def test_several_workers_end_with_the_weights_and_the_curves_of_one(one, several, fit):
    assert furthest(several.weights(fit), one.weights(fit)) < CLOSE
    assert furthest(several.history(fit), one.history(fit)) < CLOSE


@pytest.mark.parametrize("fit", ["weighted/head", "weighted/top"])
def test_weights_of_images_count_the_same_however_many_workers_there_are(one, two, fit):
    assert furthest(two.weights(fit), one.weights(fit)) < CLOSE
    assert furthest(two.history(fit), one.history(fit)) < CLOSE
    unweighted = fit.replace("weighted", "on_features")
    assert furthest(one.weights(fit), one.weights(unweighted)) > 10 * CLOSE


@pytest.mark.parametrize("fit", ["fast/head", "fast/top"])
def test_the_fast_schedule_gives_the_same_however_many_workers_there_are(one, two, fit):
    assert furthest(two.weights(fit), one.weights(fit)) < CLOSE
    assert furthest(two.history(fit), one.history(fit)) < CLOSE
    assert two.record(fit)["solved"] == one.record(fit)["solved"]
    assert (two.record(fit)["mixing"] is None) == (fit == "fast/head")


def test_images_that_are_augmented_as_they_are_read_do_not_depend_on_the_workers(one, two):
    fit = "on_images/head"

    assert furthest(two.weights(fit), one.weights(fit)) < CLOSE
    assert furthest(two.history(fit), one.history(fit)) < CLOSE


def test_fits_of_this_file_move_weights_much_further_than_workers_differ(one):
    """Or their agreement would say nothing."""
    head, top = (one.weights(f"on_features/{fit}") for fit in ("head", "top"))

    assert furthest(head, top) > 1000 * CLOSE


def test_all_workers_hold_the_same_weights_after_each_fit(several):
    digests = several.digests()

    assert len(digests[0]) == {2: 8, 3: 2}[several.workers]
    assert digests == [digests[0]] * several.workers
    # The fast schedule may keep the model of fit 1.
    kept = several.workers == 2 and several.record("fast/top")["mixing"]["chosen"] == 0.0
    assert len(set(digests[0])) == len(digests[0]) - kept


def test_statistics_that_follow_the_data_move_and_are_the_mean_over_the_workers(two):
    """What it is the mean of is checked by the digests: all workers hold it."""
    before, after = two.weights("on_features/head"), two.weights("batch_norm/top")
    moved = {name for name in before if not np.array_equal(before[name], after[name])}

    assert {name.split("/")[-1] for name in moved if "norm3" in name} == {
        "beta:0",
        "gamma:0",
        "moving_mean:0",
        "moving_variance:0",
    }


def test_only_the_chief_exports_logs_and_reports(one, several):
    for trained in (one, several):
        assert [path.name for path in trained.folder.glob("exported-by-*")] == ["exported-by-0"]
        logs = trained.folder / "on_features" / "top" / "log"
        assert len(list(logs.glob("train/events.out.tfevents.*"))) == 1
