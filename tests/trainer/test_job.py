"""Whole training jobs of the real InceptionV3 at 75 px, each in a process of its own.

With one seed they repeat; on what the trunk made once they equal those that run it in every
epoch. Random weights, calibrated, cut at the recipe's boundary: the plain job makes them
itself, the cached one takes those of TrunkFeatures.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest

from components.trunk_features.executor import write_backbone, write_features
from trainer.data.card import DataCard, write_card
from trainer.earlier_head import WEIGHTS_FILE
from trainer.fits.record import HISTORY_FILE
from trainer.model.trunk import BACKBONE_FILE
from trainer.specs import NO_CHANGE, TrunkFeaturesArgs, TrunkSpec

from ..image_examples import image_example, noise, write_shard
from .conftest import weights_in

pytestmark = pytest.mark.slow

SIZE_PX = 75
SEED = 7
COUNTS = {"train": 16, "val": 8, "test": 2}
# Kept in float32 the trunk's output is the same but for the order of sums: it runs on one
# batch of 26 there and on batches of 6 here. Measured with AVX-512: no difference at all;
# with AVX2: 1.5e-5 in a loss and 8e-5 in a weight, since Adam's step is as long for a
# gradient near zero. This is three times as much. Fit 2 moves weights by up to 3e-3.
FLOAT32_CURVES = 5e-5
FLOAT32_WEIGHTS = 2.5e-4
# Kept in float16 each value is off by up to 2^-11 of itself. Measured: 1.5e-4 in a loss
# and 1.3e-3 in a weight on one processor, 1.9e-3 in a loss on another.
FLOAT16_CURVES = 4e-3
FITS = ("head", "top")
JOB = """
import sys
import trainer
from trainer.data.card import read_card
from trainer.job import Job
from trainer.run_fits import run_fine_tune, run_head_fit
from trainer.specs import NO_CHANGE, FineTune, HeadFit, ModelSpec, TrunkSpec
data, folder, seed, weights, dtype, fits = sys.argv[1:]
cache = TrunkSpec("inception_v3", 75, "mixed8", dtype, "float32") if dtype else None
def job(name):
    model_dir = f"{folder}/{name}"
    return Job(
        spec=ModelSpec("inception_v3", 75, 16, 0.0, num_classes=2), labels=["a", "b"],
        data_card=read_card(data),
        train_files=[f"{data}/Split-train/*"], val_files=[f"{data}/Split-val/*"],
        global_batch_size=6, seed=int(seed), precision="float32", cache=cache,
        augmentation=NO_CHANGE, max_pixels=10**6, config={}, model_dir=model_dir,
        saved_model_dir=f"{model_dir}/Format-Serving", log_dir=f"{model_dir}/log",
        export=lambda *arguments: None)  # slow; has tests of its own
run_head_fit(job("head"), HeadFit(1e-3, 3, 3), weights)
if "top" in fits:
    run_fine_tune(job("top"), FineTune("mixed8", 1e-3, 0.9, 3, 3), f"{folder}/head")
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Noise; that of one class is redder. Validation's are some of training's, so that
    every epoch is better than the one before and the last one's weights are kept.
    """
    uri = tmp_path_factory.mktemp("images")
    for split, count in COUNTS.items():
        pixels = noise(count, SIZE_PX, seed=0) // 2
        pixels[1::2, :, :, 0] += 100
        records = [
            image_example(one, f"{split} {number}", number % 2).SerializeToString()
            for number, one in enumerate(pixels)
        ]
        write_shard(uri / f"Split-{split}" / "part-0.gz", records)
    counts = {split: {"a": count // 2, "b": count // 2} for split, count in COUNTS.items()}
    write_card(DataCard("", "", counts), str(uri))
    return uri


@pytest.fixture(scope="module")
def train(tmp_path_factory) -> Callable[..., Path]:
    """Runs the fits in a process of their own; a folder with their models."""

    def run(
        data: Path,
        weights: str = "random",
        dtype: str = "",
        seed: int = SEED,
        fits: tuple[str, ...] = FITS,
    ) -> Path:
        folder = tmp_path_factory.mktemp("models")
        arguments = [str(data), str(folder), str(seed), weights, dtype, ",".join(fits)]
        subprocess.run([sys.executable, "-c", JOB, *arguments], check=True, capture_output=True)
        return folder

    return run


@pytest.fixture(scope="module")
def plain(images, train) -> Path:
    return train(images)


@pytest.fixture(scope="module")
def weights(images, tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("trunk") / BACKBONE_FILE)
    write_backbone(settings("float32"), str(images), path)
    return path


def settings(dtype: str) -> TrunkFeaturesArgs:
    spec = TrunkSpec("inception_v3", SIZE_PX, "mixed8", dtype, "float32")
    return TrunkFeaturesArgs(spec, "random", "", SEED, 0, NO_CHANGE)


@pytest.fixture(scope="module")
def train_cached(images, weights, train, tmp_path_factory) -> Callable[[str], Path]:
    def run(dtype: str) -> Path:
        uri = tmp_path_factory.mktemp("features")
        write_features(beam.Pipeline(), settings(dtype), str(images), str(uri), weights)
        return train(uri, weights, dtype)

    return run


def curves(models: Path) -> dict[str, list[float]]:
    """Loss and accuracy of each epoch, on training and validation images, of both fits."""
    return {
        f"{fit} {name}": values
        for fit in FITS
        for name, values in json.loads((models / fit / HISTORY_FILE).read_text())["history"].items()
    }


def furthest(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """The largest difference of two sets of numbers by name."""
    assert one.keys() == other.keys()
    return max(float(np.max(np.abs(np.subtract(one[name], other[name])))) for name in one)


def test_one_seed_gives_identical_weights_after_both_fits_and_another_seed_does_not(
    plain, images, train
):
    again, other = train(images), train(images, seed=SEED + 1, fits=FITS[:1])

    assert curves(again) == curves(plain)
    for fit in FITS:
        first, second = (weights_in(models / fit / WEIGHTS_FILE) for models in (plain, again))
        assert furthest(first, second) == 0
    one, third = (weights_in(models / "head" / WEIGHTS_FILE) for models in (plain, other))
    assert furthest(one, third) > 0.1
    history = json.loads((plain / "top" / HISTORY_FILE).read_text())
    assert history["frozen_layers"] == 249
    assert len(history["history"]["val_loss"]) == 3


def test_features_kept_in_float32_give_the_curves_and_the_weights_of_the_plain_fits(
    plain, train_cached
):
    cached = train_cached("float32")

    assert furthest(curves(cached), curves(plain)) < FLOAT32_CURVES
    for fit in FITS:
        one, other = (weights_in(models / fit / WEIGHTS_FILE) for models in (cached, plain))
        assert furthest(one, other) < FLOAT32_WEIGHTS


def test_features_kept_in_float16_give_nearly_the_curves_of_the_plain_fits(plain, train_cached):
    cached = train_cached("float16")

    assert 0 < furthest(curves(cached), curves(plain)) < FLOAT16_CURVES


def test_both_fits_of_this_file_learn_and_move_weights(plain):
    """Or their agreement would say nothing."""
    for fit in FITS:
        losses = curves(plain)[f"{fit} val_loss"]
        assert losses[-1] < losses[0] - 1e-2
    head, top = (weights_in(plain / fit / WEIGHTS_FILE) for fit in FITS)
    assert furthest(head, top) > 5 * FLOAT32_WEIGHTS
