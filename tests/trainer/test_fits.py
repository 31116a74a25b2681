"""What the two fits move, what they leave, and what they keep."""

import functools
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from trainer.data.fit_data import FitData
from trainer.fit_specs import FineTune, HeadFit, fast_epochs
from trainer.fits.recipe import _fine_tune_optimizer, fine_tune, fit_head
from trainer.fits.weight_checks import UnexpectedWeights, check_fit_moved, moved_weights, snapshot
from trainer.model.classifier import freeze, on_pooled, thaw_above
from trainer.model.precision import layers_compute_in

from .conftest import images

HEAD = HeadFit(learning_rate=1e-3, max_epochs=3, patience=3)
TOP = FineTune("block2", learning_rate=1e-2, momentum=0.9, max_epochs=3, patience=3)


FAST = replace(TOP, learning_rate=1e-2, schedule="fast")


def val_loss(network, data) -> float:
    """Mean cross-entropy over the validation images."""
    losses = [
        keras.losses.categorical_crossentropy(
            labels, network.classifier(inputs, training=False), from_logits=True
        ).numpy()
        for inputs, labels in data.val
    ]
    return float(np.concatenate(losses).mean())


def layers_of(names: set[str]) -> set[str]:
    return {name.split("/")[0] for name in names}


def test_fit_1_moves_only_the_head(make_network, data, tmp_path):
    network = make_network()
    before = snapshot(network.classifier)

    record = fit_head(network, data, HEAD, str(tmp_path))

    assert layers_of(moved_weights(before, network.classifier)) == {"hidden", "logits"}
    assert record.trainable_parameters == 4 * 8 + 8 + 8 * 2 + 2
    assert record.frozen_layers == len(network.backbone.layers)


def test_fit_2_moves_only_layers_above_the_boundary(make_network, data, tmp_path):
    network = make_network()
    before = snapshot(network.classifier)

    record = fine_tune(network, data, TOP, str(tmp_path), boundary_layer="block2")

    assert layers_of(moved_weights(before, network.classifier)) == {
        "conv3",
        "norm3",
        "hidden",
        "logits",
    }
    assert record.boundary == "block2"


def test_fit_2_leaves_batch_norm_statistics_alone(make_network, data, tmp_path):
    network = make_network()
    before = snapshot(network.classifier)

    fine_tune(network, data, TOP, str(tmp_path), boundary_layer="block2")

    assert not {name for name in moved_weights(before, network.classifier) if "moving" in name}


def test_statistics_that_move_unasked_fail_the_fit(make_network, data, tmp_path):
    network = make_network(train_batch_norm=True)

    with pytest.raises(UnexpectedWeights, match=r"frozen weights moved: norm3/moving_mean"):
        fine_tune(network, data, TOP, str(tmp_path), boundary_layer="block2")


def test_statistics_above_the_boundary_follow_the_data_if_told_to(make_network, data, tmp_path):
    network = make_network(train_batch_norm=True)
    before = snapshot(network.classifier)
    fit = FineTune("block2", 1e-2, 0.9, 3, 3, batch_norm="train")

    fine_tune(network, data, fit, str(tmp_path), boundary_layer="block2")

    moved = {name for name in moved_weights(before, network.classifier) if "moving" in name}
    assert layers_of(moved) == {"norm3"}


def test_thawing_without_compiling_again_is_noticed(make_network, data):
    network = make_network()
    model = network.classifier
    freeze(network.backbone)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    before = snapshot(network.classifier)
    model.train_on_batch(*next(iter(data.train)))
    thaw_above(network.backbone, "block2")
    model.fit(data.train, steps_per_epoch=3, verbose=0)

    with pytest.raises(UnexpectedWeights, match=r"trainable weights did not move: conv3"):
        check_fit_moved(before, model, model.optimizer)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_fit_with_nothing_left_to_learn_is_no_failure(make_network, tmp_path, precision):
    """Every image is of class 0, and the model is certain of it: all gradients are 0."""
    with layers_compute_in(precision):
        network = make_network()
    network.classifier.get_layer("logits").bias.assign([500.0, 0.0])
    pixels, labels = images(16, 0)
    certain = tf.data.Dataset.from_tensor_slices((pixels, tf.one_hot(0 * labels, 2))).batch(8)
    data = FitData(lambda first: certain.repeat(), val=certain, train_steps=2)
    before = snapshot(network.classifier)

    record = fine_tune(network, data, TOP, str(tmp_path), boundary_layer="block2")

    assert record.history["loss"][-1] == 0
    assert not moved_weights(before, network.classifier)


def test_best_epoch_is_kept_even_if_the_fit_never_stopped_early(make_network, data, tmp_path):
    network = make_network()
    wild = HeadFit(learning_rate=0.5, max_epochs=4, patience=50)

    record = fit_head(network, data, wild, str(tmp_path))

    losses = record.history["val_loss"]
    assert not record.stopped_early
    assert len(losses) == 4
    assert record.best_epoch == int(np.argmin(losses)) + 1
    assert record.best_epoch < 4, "the last epoch was the best: this shows nothing"
    network.classifier.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    assert math.isclose(network.classifier.evaluate(data.val, verbose=0), min(losses), rel_tol=1e-5)


def test_fast_runs_all_epochs_however_the_validation_loss_goes(make_network, data):
    fit = replace(FAST, learning_rate=3.0, patience=1, max_epochs=5)

    record = fine_tune(make_network(), data, fit, None, boundary_layer="block2")

    losses = record.history["val_loss"]
    assert len(losses) == 5
    assert not record.stopped_early
    assert any(later > earlier for earlier, later in itertools.pairwise(losses)), losses


@pytest.mark.parametrize(
    ("steps", "epochs"), [(1, 80), (7, 12), (19, 5), (20, 4), (21, 4), (10_000, 4)]
)
def test_fast_takes_four_epochs_or_as_many_as_make_eighty_steps(steps, epochs):
    assert fast_epochs(steps) == epochs


def test_fast_without_a_number_of_epochs_chooses_it_by_the_images(make_network, data):
    many = replace(data, train_steps=40)

    record = fine_tune(
        make_network(), many, replace(FAST, max_epochs=0), None, boundary_layer="block2"
    )

    assert len(record.history["loss"]) == 4


def test_fast_keeps_the_best_mixture_of_the_weights_before_and_after(make_network, data):
    network = make_network()
    before = network.classifier.get_weights()

    record = fine_tune(network, data, FAST, None, boundary_layer="block2")

    assert record.mixing.chosen > 0
    kept = val_loss(network, data)
    assert kept == pytest.approx(record.mixing.lowest_loss, abs=1e-6)
    assert kept <= min(record.history["val_loss"]) + 1e-6
    network.classifier.set_weights(before)
    assert kept < val_loss(network, data) == pytest.approx(record.mixing.val_losses[0], abs=1e-6)


def test_fast_starts_from_another_head_and_mixes_with_the_first(make_network, data):
    network = make_network()
    first = val_loss(network, data)
    head = on_pooled(network.classifier)
    start = [weight + 0.5 for weight in head.get_weights()]

    fit = replace(FAST, learning_rate=1e-9, max_epochs=1)
    record = fine_tune(network, data, fit, None, boundary_layer="block2", start_head=start)

    assert record.mixing.val_losses[0] == pytest.approx(first, abs=1e-6)
    head.set_weights(start)
    assert record.mixing.val_losses[-1] == pytest.approx(val_loss(network, data), abs=1e-5)
    assert record.mixing.val_losses[0] != pytest.approx(record.mixing.val_losses[-1], abs=1e-3)


def test_fast_leaves_the_model_of_fit_1_if_fine_tuning_only_does_harm(make_network, data):
    network = make_network()
    fit_head(network, data, replace(HEAD, learning_rate=0.03, max_epochs=20), None)
    before = snapshot(network.classifier)

    fit = replace(FAST, learning_rate=30.0)
    record = fine_tune(network, data, fit, None, boundary_layer="block2")

    assert record.mixing.chosen == 0.0
    assert not moved_weights(before, network.classifier)


def test_the_rate_of_fast_rises_and_falls_to_zero():
    optimizer = _fine_tune_optimizer(replace(FAST, learning_rate=0.5, max_epochs=4), steps=25)
    rates = [float(optimizer._learning_rate(step)) for step in range(101)]

    assert rates[0] == 0.0
    assert rates[10] == pytest.approx(0.25)
    assert max(rates) == rates[20] == 0.5
    assert rates[60] == pytest.approx(0.25)  # half of the cosine
    assert rates[100] == 0.0


def test_patience_ends_a_fit(make_network, data, tmp_path):
    network = make_network()
    wild = HeadFit(learning_rate=10.0, max_epochs=30, patience=1)

    record = fit_head(network, data, wild, str(tmp_path))

    assert record.stopped_early
    assert len(record.history["loss"]) == record.best_epoch + 1


def test_loss_is_cross_entropy_of_logits_in_both_fits(make_network, data, tmp_path):
    network = make_network()

    fine_tune_above = functools.partial(fine_tune, boundary_layer="block2")
    for fit, how in ((fit_head, HEAD), (fine_tune_above, TOP)):
        record = fit(network, data, how, str(tmp_path))

        images, one_hot = next(iter(data.val.unbatch().batch(99)))
        logits = network.classifier(images, training=False)
        by_hand = -tf.reduce_mean(tf.reduce_sum(one_hot * tf.nn.log_softmax(logits), -1))
        assert math.isclose(float(by_hand), min(record.history["val_loss"]), rel_tol=1e-4)


def test_loss_that_is_not_finite_is_recorded_as_none_and_the_fit_ends(make_network, data, tmp_path):
    network = make_network()
    explosive = FineTune("block2", 1e30, 0.9, max_epochs=9, patience=2)

    record = fine_tune(network, data, explosive, str(tmp_path), boundary_layer="block2")

    assert None in record.history["loss"] + record.history["val_loss"]
    assert len(record.history["loss"]) <= 4


def test_fits_leave_tensorboard_logs(make_network, data, tmp_path):
    network = make_network()

    fit_head(network, data, HEAD, str(tmp_path))

    assert list(tmp_path.glob("train/events.out.tfevents.*"))
    assert list(tmp_path.glob("validation/events.out.tfevents.*"))
