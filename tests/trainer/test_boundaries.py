"""The boundary is a block, not a number: of every backbone, in the built network."""

import functools
import tempfile

import numpy as np
import pytest

from trainer.backbones.networks import (
    UnusableWeights,
    batch_norm_layers,
    boundary_layer,
    calibrate_batch_norm,
    layers_bypassing,
    load_backbone,
    top_blocks_of,
    trunk_of,
)
from trainer.backbones.table import BACKBONES
from trainer.errors import ThawError
from trainer.model.classifier import thaw_above


@functools.cache
def built(name):
    """A backbone for tests that leave it as it is."""
    return load_backbone(name, max(75, BACKBONES[name].min_size_px), "random")


@pytest.fixture(scope="module")
def inception():
    return load_backbone("inception_v3", 75, "random")


@pytest.mark.parametrize("name", BACKBONES)
def test_every_block_of_every_backbone_cuts_it(name):
    spec = BACKBONES[name]
    backbone = built(name)

    bypassed = {
        block: layers_bypassing(backbone, layer)
        for block, layer in spec.blocks.items()
        if layers_bypassing(backbone, layer)
    }

    assert bypassed == {}
    order = [layer.name for layer in backbone.layers]
    positions = [order.index(layer) for layer in spec.blocks.values()]
    assert positions == sorted(positions)
    assert positions[-1] < len(order) - 1
    assert spec.default_boundary in spec.blocks


@pytest.mark.parametrize("name", BACKBONES)
def test_trunk_and_top_blocks_together_are_the_backbone(name):
    backbone, spec = built(name), BACKBONES[name]
    layer = spec.blocks[spec.default_boundary]
    trunk, top = trunk_of(backbone, layer), top_blocks_of(backbone, layer)
    images = np.random.default_rng(0).uniform(-1, 1, [2, *backbone.input_shape[1:]])

    in_two_steps = top(trunk(images, training=False), training=False).numpy()

    whole = backbone(images, training=False).numpy()
    assert whole.std() > 0
    np.testing.assert_allclose(in_two_steps, whole, atol=1e-5 * np.abs(whole).max())


def test_names_do_not_depend_on_how_many_backbones_were_built_before():
    first = [layer.name for layer in load_backbone("xception", 75, "random").layers]
    second = [layer.name for layer in load_backbone("xception", 75, "random").layers]

    assert first == second
    assert BACKBONES["xception"].blocks["block12"] == "add_10"


def test_recipe_freezes_249_of_311_layers_and_half_the_parameters(inception):
    num_frozen = thaw_above(inception, "mixed8")

    trainable = sum(int(np.prod(weight.shape)) for weight in inception.trainable_weights)
    thawed_norms = [layer for layer in batch_norm_layers(inception) if layer.trainable]
    assert (num_frozen, len(inception.layers)) == (249, 311)
    assert trainable == 11_114_880
    assert (len(thawed_norms), len(batch_norm_layers(inception))) == (18, 94)


def test_often_copied_172_would_thaw_far_more(inception):
    thaw_above(inception, inception.layers[171].name)

    trainable = sum(int(np.prod(weight.shape)) for weight in inception.trainable_weights)
    thawed_norms = [layer for layer in batch_norm_layers(inception) if layer.trainable]
    assert trainable == 16_215_936
    assert len(thawed_norms) == 42


def test_layer_inside_a_block_is_no_boundary(inception):
    assert layers_bypassing(inception, "mixed9_0") != []


def test_unknown_boundary_names_the_blocks(inception):
    with pytest.raises(
        ValueError, match=r"'mixed99' is not a block of inception_v3.*mixed0, mixed1"
    ):
        boundary_layer(inception, BACKBONES["inception_v3"], "mixed99")


def test_calibration_keeps_features_of_a_random_backbone_alive(inception):
    images = np.random.default_rng(0).uniform(-1, 1, [16, 75, 75, 3]).astype("float32")
    before = float(np.std(inception(images, training=False)))

    calibrate_batch_norm(inception, images)

    assert before < 1e-2
    assert 0.1 < float(np.std(inception(images, training=False))) < 10
    assert {layer.momentum for layer in batch_norm_layers(inception)} == {0.99}


def test_calibration_refuses_a_single_image(inception):
    with pytest.raises(ThawError, match="at least 2 training images, not 1"):
        calibrate_batch_norm(inception, np.zeros([1, 75, 75, 3], "float32"))


def test_weights_that_do_not_fit_are_refused_with_their_path(tmp_path):
    path = tmp_path / "wrong.h5"
    load_backbone("mobilenet_v2", 96, "random").save_weights(path)

    with pytest.raises(UnusableWeights, match=r"wrong\.h5 cannot be loaded into inception_v3"):
        load_backbone("inception_v3", 75, str(path))


def test_copy_of_remote_weights_is_removed_once_they_are_loaded(monkeypatch, tmp_path):
    temporary, path = tmp_path / "temporary", tmp_path / "weights.h5"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    saved = load_backbone("mobilenet_v2", 96, "random")
    saved.save_weights(path)

    loaded = load_backbone("mobilenet_v2", 96, f"file://{path}")

    np.testing.assert_array_equal(loaded.get_weights()[0], saved.get_weights()[0])
    assert not list(temporary.iterdir())


def test_missing_imagenet_weights_say_where_to_put_the_file(monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("tf_keras.src.utils.data_utils.get_file", refuse)

    with pytest.raises(UnusableWeights, match=r"tf_kernels_notop\.h5 into ~/\.keras/models"):
        load_backbone("inception_v3", 75, "imagenet")
