"""In what the layers compute, and that everything kept is float32 nevertheless."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.core.framework import types_pb2

from trainer.backbones.networks import load_backbone
from trainer.data.card import DataCard
from trainer.data.images import decode_and_resize
from trainer.earlier_head import WEIGHTS_FILE
from trainer.fit_specs import FineTune, HeadFit
from trainer.fits.recipe import fine_tune, fit_head
from trainer.fits.weight_checks import moved_weights, snapshot
from trainer.job import Job
from trainer.model.classifier import build_classifier, on_trunk_features
from trainer.model.precision import layers_compute_in
from trainer.model.weight_files import load_weights
from trainer.run_fits import run_head_fit
from trainer.specs import NO_CHANGE, ModelSpec

from ..components.conftest import encoded
from ..image_examples import image_example, noise, write_shard
from .conftest import images

HEAD = HeadFit(learning_rate=1e-3, max_epochs=3, patience=3)
TOP = FineTune("block2", learning_rate=1e-2, momentum=0.9, max_epochs=3, patience=3)
MOBILENET = ModelSpec("mobilenet_v2", 32, 8, 0.0, num_classes=2)
HALVES = ("bfloat16", "float16")


@pytest.fixture
def make_network_in(make_network):
    def make(precision: str):
        with layers_compute_in(precision):
            return make_network()

    return make


@pytest.fixture
def exported(tmp_path):
    """A real backbone's head, fitted and exported under bfloat16."""
    for split, count in (("train", 8), ("val", 4)):
        records = [
            image_example(pixels, str(number), number % 2).SerializeToString()
            for number, pixels in enumerate(noise(count, 32, seed=count))
        ]
        write_shard(tmp_path / f"{split}.gz", records)
    job = Job(
        spec=MOBILENET,
        labels=["a", "b"],
        data_card=DataCard("", "", {"train": {"a": 4, "b": 4}}),
        train_files=[str(tmp_path / "train.gz")],
        val_files=[str(tmp_path / "val.gz")],
        global_batch_size=4,
        seed=1,
        precision="bfloat16",
        cache=None,
        augmentation=NO_CHANGE,
        max_pixels=10**6,
        config={},
        model_dir=str(tmp_path / "model"),
        saved_model_dir=str(tmp_path / "model" / "Format-Serving"),
        log_dir=str(tmp_path / "log"),
    )
    run_head_fit(job, HeadFit(1e-3, 1, 1), "random")
    return tmp_path / "model"


def policy() -> str:
    return keras.mixed_precision.global_policy().name


@pytest.mark.parametrize("precision", ["float32", *HALVES])
def test_layers_compute_in_it_while_weights_and_logits_are_float32(make_network_in, precision):
    network = make_network_in(precision)

    layers = [*network.backbone.layers, network.classifier.get_layer("hidden")]
    assert {layer.compute_dtype for layer in layers[1:]} == {precision}
    assert {weight.dtype for weight in network.classifier.weights} == {tf.float32}
    pixels, _ = images(4, 0)
    assert network.classifier(pixels).dtype == tf.float32
    assert network.classifier.get_layer("hidden").output.dtype == precision


@pytest.mark.parametrize("precision", HALVES)
def test_it_computes_nearly_what_float32_computes(make_network_in, precision):
    exact, rough = make_network_in("float32"), make_network_in(precision)
    rough.classifier.set_weights(exact.classifier.get_weights())
    pixels, _ = images(16, 0)

    one, other = (network.classifier(pixels, training=False).numpy() for network in (exact, rough))

    assert not np.array_equal(one, other)
    # A few layers, each rounding to 8 (bfloat16) or 11 (float16) binary digits.
    np.testing.assert_allclose(other, one, atol=5e-2 * np.abs(one).max())


@pytest.mark.parametrize("precision", HALVES)
def test_both_fits_learn_and_move_what_they_should(make_network_in, data, tmp_path, precision):
    network = make_network_in(precision)

    head = fit_head(network, data, HEAD, str(tmp_path / "head"))
    before = snapshot(network.classifier)
    top = fine_tune(network, data, TOP, str(tmp_path / "top"), boundary_layer="block2")

    moved = {name.split("/")[0] for name in moved_weights(before, network.classifier)}
    assert moved == {"conv3", "norm3", "hidden", "logits"}
    losses = [*head.history["val_loss"], *top.history["val_loss"]]
    assert None not in losses
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("precision", "scales"), [("float32", False), ("bfloat16", False), ("float16", True)]
)
@pytest.mark.parametrize("enter", [False, True])
def test_only_float16_scales_the_loss(
    make_network_in, strategy, data, tmp_path, precision, scales, enter
):
    """Also of a model that is entered above its trunk, as the fits do with cached features."""
    network = make_network_in(precision)
    trained_part = network.classifier
    if enter:
        with strategy.scope(), layers_compute_in(precision):
            trained_part = on_trunk_features(network.classifier, network.backbone, "block2")

    with strategy.scope():
        trained_part.compile(keras.optimizers.SGD(), keras.losses.CategoricalCrossentropy(True))

    assert isinstance(trained_part.optimizer, keras.mixed_precision.LossScaleOptimizer) is scales


def test_gradients_that_float16_cannot_hold_still_move_the_weights(strategy):
    """A gradient of 1e-9 is 0 in float16, whose smallest number is 6e-8."""
    with strategy.scope(), layers_compute_in("float16"):
        inputs = keras.Input([4])
        hidden = keras.layers.Dense(4, name="hidden")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(2, name="logits", dtype="float32")(hidden))
    with strategy.scope():
        model.compile(
            keras.optimizers.SGD(1.0), loss=lambda truth, found: 1e-9 * tf.reduce_sum(found, -1)
        )
    before = snapshot(model)
    rows = np.ones([8, 4], "float32")

    model.fit(rows, np.zeros([8, 2]), batch_size=8, epochs=1, verbose=0)

    after = {weight.name: weight.numpy() for weight in model.weights}
    step = np.abs(after["hidden/bias:0"] - before["hidden/bias:0"])
    assert np.all((step > 1e-11) & (step < 1e-8))


@pytest.mark.slow
def test_exported_model_is_float32_whatever_the_fit_computed_in(exported):
    model = build_classifier(MOBILENET, load_backbone("mobilenet_v2", 32, "random"))
    load_weights(model, str(exported / WEIGHTS_FILE))
    content = encoded("PNG", 32, 32)

    served = tf.saved_model.load(str(exported / "Format-Serving"))
    found = served.signatures["serving_default"](image_bytes=tf.constant([content]))

    pixels = decode_and_resize(tf.constant(content), 32, 10**6)[tf.newaxis]
    expected = tf.nn.softmax(model(pixels, training=False))
    # bfloat16 would be off by 1e-3.
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    graph = served.signatures["serving_default"].graph.as_graph_def()
    nodes = [
        *graph.node,
        *(node for function in graph.library.function for node in function.node_def),
    ]
    types = {attribute.type for node in nodes for attribute in node.attr.values()}
    assert types_pb2.DT_FLOAT in types
    assert not types & {types_pb2.DT_BFLOAT16, types_pb2.DT_HALF}


def test_policy_is_restored_also_after_an_exception():
    with layers_compute_in("bfloat16"):
        assert policy() == "mixed_bfloat16"
        with layers_compute_in("float16"):
            assert policy() == "mixed_float16"
        assert policy() == "mixed_bfloat16"
    assert policy() == "float32"

    with pytest.raises(ZeroDivisionError), layers_compute_in("float16"):
        _ = 1 / 0

    assert policy() == "float32"


def test_unknown_precision_changes_nothing():
    with pytest.raises(KeyError), layers_compute_in("int8"):
        pass

    assert policy() == "float32"
