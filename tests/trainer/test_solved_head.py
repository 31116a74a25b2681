"""A head without a hidden layer, solved by L-BFGS."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from trainer.calibration.unknown import Pooled
from trainer.data.fit_data import FitData
from trainer.fit_specs import LBFGS, HeadFit
from trainer.fits.recipe import Network, keep_solved_head
from trainer.fits.record import Solved
from trainer.fits.weight_checks import moved_weights, snapshot
from trainer.job_data import merge_views
from trainer.model.classifier import build_classifier, on_pooled
from trainer.solved_head import load_start, save_start, solve_head

from .conftest import SPEC, tiny_backbone

WIDTH, CLASSES = 6, 3


def blobs(per_class: int, seed: int, spread: float = 1.5) -> Pooled:
    """Clusters that overlap, around other points of every seed's images alike."""
    centres = np.random.default_rng(0).normal(0, 1, [CLASSES, WIDTH])
    labels = np.repeat(np.arange(CLASSES), per_class)
    noise = np.random.default_rng(seed).normal(0, spread, [len(labels), WIDTH])
    return Pooled((centres[labels] + noise).astype(np.float32), labels)


def solve(train: Pooled, val: Pooled):
    solved = solve_head(tf.distribute.get_strategy(), lambda: (train, val), (WIDTH, CLASSES))
    assert solved
    return solved.weights, solved.record


def loss(weights: list[np.ndarray], images: Pooled) -> float:
    logits = tf.constant(images.vectors @ weights[0] + weights[1])
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(images.labels, logits)
    return float(tf.reduce_mean(each))


def test_it_is_better_than_guessing_and_its_loss_is_the_one_that_is_recorded(strategy):
    val = blobs(40, 2)

    weights, record = solve(blobs(30, 1), val)

    assert loss(weights, val) == pytest.approx(min(record.val_losses.values()), abs=1e-5)
    assert loss(weights, val) < 0.9 * np.log(CLASSES)
    assert record.val_losses[f"{record.strength:g}"] == min(record.val_losses.values())


def test_fit_2_starts_from_a_head_that_is_held_back_at_least_as_strongly(strategy, tmp_path):
    # Far apart: the least penalty is best, and its head is certain of every image.
    train, val = blobs(30, 1, spread=0.2), blobs(30, 2, spread=0.2)
    solved = solve_head(strategy, lambda: (train, val), (WIDTH, CLASSES))

    assert (solved.record.strength, solved.record.start_strength) == (0.3, 0.003)
    assert np.abs(solved.start[0]).max() < 0.3 * np.abs(solved.weights[0]).max()

    head = keras.Sequential([keras.Input([WIDTH]), keras.layers.Dense(CLASSES, name="logits")])
    save_start(head, solved, str(tmp_path))
    head.set_weights(solved.weights)
    for read, written in zip(load_start(head, str(tmp_path)), solved.start, strict=True):
        np.testing.assert_array_equal(read, written)
    assert load_start(head, str(tmp_path / "elsewhere")) is None


def test_an_image_without_weight_does_not_count(strategy):
    train, val = blobs(20, 1), blobs(20, 2)
    # Both have the same place, so that standardization is the same with them and without.
    mean = train.vectors.mean(axis=0, keepdims=True)
    wrong = Pooled(
        np.concatenate([train.vectors, mean, mean]),
        np.concatenate([train.labels, [0, 1]]),
        np.array([1.0] * len(train) + [0.0, 0.0], np.float32),
    )
    counted = Pooled(wrong.vectors, wrong.labels)

    (kernel, bias), _ = solve(train, val)
    (weighted, weighted_bias), _ = solve(wrong, val)
    (other, _), _ = solve(counted, val)

    gap = max(np.abs(weighted - kernel).max(), np.abs(weighted_bias - bias).max())
    assert gap < 0.05
    assert np.abs(other - kernel).max() > 0


def test_views_are_merged_and_validation_comes_last():
    one = Pooled(np.zeros([2, 1], np.float32), np.array([0, 1]), np.ones(2, np.float32))
    two = Pooled(np.ones([2, 1], np.float32), np.array([0, 1]), np.full(2, 3, np.float32))

    train, val = merge_views([one, two, one])

    np.testing.assert_array_equal(train.vectors.ravel(), [0, 0, 1, 1])
    np.testing.assert_array_equal(train.weights, [1, 1, 3, 3])
    assert val is one


@pytest.mark.parametrize("count", [1, 400_000])
def test_too_few_images_and_too_many_are_not_solved(strategy, count):
    labels = np.arange(count) % CLASSES
    train = Pooled(np.zeros([count, 1], np.float32), labels)

    shape = (1, CLASSES)
    assert solve_head(strategy, lambda: (train, train), shape) is None
    assert solve_head(strategy, lambda: None, shape) is None


def test_a_solved_head_is_kept_and_looked_at_once(strategy):
    with strategy.scope():
        backbone = tiny_backbone()
        classifier = build_classifier(replace(SPEC, head_units=0), backbone)
    before = snapshot(classifier)
    vectors = tf.data.Dataset.from_tensor_slices((tf.ones([6, 4]), tf.one_hot([0, 1] * 3, 2)))
    data = FitData(lambda first: vectors.batch(3).repeat(), val=vectors.batch(3), train_steps=2)
    weights = [np.zeros([4, 2], np.float32), np.array([0.0, 1.0], np.float32)]

    record = keep_solved_head(
        Network(classifier, backbone, on_pooled(classifier)),
        data,
        HeadFit(1e-3, 3, 3, solver=LBFGS),
        weights,
        Solved(0.03, 0.003, {"0.03": 0.5}),
    )

    assert {name.split("/")[0] for name in moved_weights(before, classifier)} == {"logits"}
    # Half of the images have the class that gets probability 1 / (1 + e).
    assert record.history["val_loss"] == pytest.approx([np.log(1 + np.e) - 0.5], abs=1e-5)
    assert record.history["val_accuracy"] == [0.5]
    assert record.history["loss"] == record.history["val_loss"]
    assert record.trainable_parameters == 4 * 2 + 2
    assert record.solved == Solved(0.03, 0.003, {"0.03": 0.5})
