"""The loss and the metrics of one replica's batches, against Keras's own."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from trainer.data.image_weights import pack_weights
from trainer.distribution.strategy import make_deterministic
from trainer.fits import global_mean
from trainer.fits.global_mean import GlobalBatchModel
from trainer.fits.recipe import Network
from trainer.model.classifier import freeze

from .conftest import CLASSES, images

SMOOTHING = 0.1


def batches(count: int, size: int) -> tf.data.Dataset:
    pixels, ids = images(count, seed=0)
    found = tf.data.Dataset.from_tensor_slices((pixels, tf.one_hot(ids, CLASSES)))
    return found.batch(size)


def loss() -> keras.losses.Loss:
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SMOOTHING)


def cross_entropy(name: str) -> keras.metrics.Metric:
    return keras.metrics.CategoricalCrossentropy(
        from_logits=True, label_smoothing=SMOOTHING, name=name
    )


@pytest.fixture
def trained(make_network) -> Callable[..., tuple[list[np.ndarray], dict[str, list[float]]]]:
    """Weights and history of some epochs, by Keras's own loss or by `GlobalBatchModel`."""

    def run(
        own: bool, class_weights: Sequence[float] = ()
    ) -> tuple[list[np.ndarray], dict[str, list[float]]]:
        network: Network = make_network()
        model = network.classifier
        freeze(network.backbone)
        make_deterministic(1)
        optimizer = keras.optimizers.RMSprop(1e-2)
        with model.distribute_strategy.scope():
            if own:
                model.compile(optimizer, loss(), metrics=["accuracy"])
            else:
                model = GlobalBatchModel(model.inputs, model.outputs, SMOOTHING, class_weights)
                metric = global_mean.cross_entropy("loss", SMOOTHING, class_weights)
                model.compile(optimizer, weighted_metrics=[metric, "accuracy"])
        data = batches(22, 8)
        history = model.fit(
            data,
            validation_data=data,
            epochs=3,
            verbose=0,
            class_weight=dict(enumerate(class_weights)) if own and class_weights else None,
        ).history
        return model.get_weights(), history

    return run


def test_one_replica_ends_with_the_very_weights_of_kerass_own_loss(trained):
    (plain, plain_history), (ours, our_history) = trained(True), trained(False)

    assert all(np.array_equal(a, b) for a, b in zip(plain, ours, strict=True))
    assert plain_history.keys() == our_history.keys()
    for name, values in plain_history.items():
        np.testing.assert_allclose(our_history[name], values, rtol=1e-6, err_msg=name)


def test_class_weights_are_those_of_keras(trained):
    weights = (0.25, 3.0)
    (theirs, _), (ours, history) = trained(True, weights), trained(False, weights)
    (unweighted, _) = trained(False)

    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(theirs, ours, strict=True))
    assert not all(np.allclose(a, b, atol=1e-3) for a, b in zip(unweighted, ours, strict=True))
    # Accuracies still count every image once.
    right = 22 * history["val_accuracy"][-1]
    assert right == pytest.approx(round(right), abs=1e-4)


def test_weights_of_images_are_those_of_keras(make_network):
    """One step by Keras's own `sample_weight`, and one by ours."""
    ((pixels, one_hot),) = batches(6, 6)
    weights = tf.constant([0.5, 2.0, 1.0, 3.0, 1.0, 0.25])
    ours, theirs = (make_network().classifier for _ in range(2))
    packed = pack_weights(tf.fill([6], 1 / 6), weights)
    with ours.distribute_strategy.scope():
        model = GlobalBatchModel(ours.inputs, ours.outputs, SMOOTHING)
        metric = global_mean.cross_entropy("loss", SMOOTHING, ())
        model.compile(keras.optimizers.RMSprop(1e-2), weighted_metrics=[metric])
        theirs.compile(keras.optimizers.RMSprop(1e-2), loss())

    measured = model.evaluate(
        tf.data.Dataset.from_tensors((pixels, one_hot, packed)), return_dict=True, verbose=0
    )
    model.fit(tf.data.Dataset.from_tensors((pixels, one_hot, packed)), verbose=0)
    theirs.fit(tf.data.Dataset.from_tensors((pixels, one_hot, weights)), verbose=0)

    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    each = [
        float(loss()(one_hot[i : i + 1], make_network().classifier(pixels[i : i + 1])))
        for i in range(6)
    ]
    assert measured["loss"] == pytest.approx(np.average(each, weights=weights), rel=1e-5)


def test_the_loss_of_a_pass_divides_by_the_weights_of_its_images():
    """Two images with losses of log 4 and log 2, of which one weighs three times as much."""
    metric = global_mean.cross_entropy("loss", 0.0, [3.0, 1.0])
    logits = tf.math.log([[0.25, 0.75], [0.5, 0.5], [0.9, 0.1]])

    counted = tf.constant([[1.0], [1.0], [0.0]])

    metric.update_state(tf.one_hot([0, 1, 0], 2), logits, sample_weight=counted)

    assert float(metric.result()) == pytest.approx((3 * np.log(4) + np.log(2)) / 4, rel=1e-6)


def test_rows_without_weight_count_neither_in_the_loss_nor_in_the_metrics(make_network):
    model = make_network().classifier
    model = GlobalBatchModel(model.inputs, model.outputs, SMOOTHING)
    model.compile("sgd", weighted_metrics=[cross_entropy("loss"), "accuracy"])
    ((pixels, one_hot),) = batches(6, 6)
    weights = tf.constant([0.25, 0.25, 0.0, 0.25, 0.25, 0.0])
    kept = weights.numpy() > 0

    found = model.compute_loss(pixels, one_hot, model(pixels), weights)
    measured = model.evaluate(
        tf.data.Dataset.from_tensors((pixels, one_hot, weights)), return_dict=True, verbose=0
    )

    expected = float(loss()(one_hot[kept], model(pixels)[kept]))
    assert float(found) == pytest.approx(expected, rel=1e-6)
    assert measured["loss"] == pytest.approx(expected, rel=1e-6)


def test_several_replicas_without_weights_are_refused(make_network):
    model = make_network().classifier
    model = GlobalBatchModel(model.inputs, model.outputs, 0.0)
    ((pixels, one_hot),) = batches(2, 2)
    logits = model(pixels)
    # This process has one device; of a strategy the loss asks only how many there are.
    two = tf.distribute.MirroredStrategy(["CPU:0"])
    two.__class__ = type("Two", (two.__class__,), {"num_replicas_in_sync": 2})

    with two.scope(), pytest.raises(ValueError, match="need weights"):
        model.compute_loss(pixels, one_hot, logits, None)
