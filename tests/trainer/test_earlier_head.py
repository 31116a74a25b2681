"""A head that starts from an earlier run's keeps the weights of the classes that are left."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from trainer.distribution.strategy import make_deterministic
from trainer.earlier_head import WEIGHTS_FILE, start_from_earlier
from trainer.errors import ThawError
from trainer.model.classifier import build_classifier
from trainer.model.weight_files import save_weights

from .conftest import SPEC, tiny_backbone

EARLIER = ["ant", "bee", "cow"]


def built(labels: list[str], seed: int, units: int = 8) -> tuple[keras.Model, keras.Model]:
    """A backbone and the classifier around it, with random weights, biases included."""
    make_deterministic(seed)
    backbone = tiny_backbone()
    spec = replace(SPEC, num_classes=len(labels), head_units=units)
    classifier = build_classifier(spec, backbone)
    random = np.random.default_rng(seed)
    for layer in head(classifier):
        layer.set_weights([random.normal(size=one.shape) for one in layer.get_weights()])
    return backbone, classifier


def head(classifier: keras.Model) -> list[keras.layers.Layer]:
    return [classifier.get_layer(name) for name in ("hidden", "logits")]


@pytest.fixture
def earlier(tmp_path) -> tuple[Path, keras.Model]:
    """The model that an earlier HeadTrainer has left, and its folder."""
    _, classifier = built(EARLIER, seed=1)
    save_weights(classifier, str(tmp_path / WEIGHTS_FILE))
    assets = tmp_path / "Format-Serving" / "assets"
    assets.mkdir(parents=True)
    (assets / "labels.txt").write_text("".join(f"{label}\n" for label in EARLIER))
    return tmp_path, classifier


def start(labels: list[str], folder: Path, units: int = 8) -> tuple[keras.Model, list, list]:
    """The classifier after the start, its logits before, and the backbone's weights before."""
    backbone, classifier = built(labels, seed=2, units=units)
    logits, weights = classifier.get_layer("logits").get_weights(), backbone.get_weights()
    spec = replace(SPEC, num_classes=len(labels), head_units=units)
    start_from_earlier(classifier, backbone, spec, labels, str(folder))
    return classifier, logits, weights


def test_kept_classes_are_copied_and_new_ones_keep_their_first_weights(earlier):
    folder, before = earlier

    after, first, _ = start(["ape", "bee", "cow", "dog"], folder)

    for old, new in zip(head(before)[0].get_weights(), head(after)[0].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new, own in zip(
        head(before)[1].get_weights(), head(after)[1].get_weights(), first, strict=True
    ):
        np.testing.assert_array_equal(new[..., [1, 2]], old[..., [1, 2]])
        np.testing.assert_array_equal(new[..., [0, 3]], own[..., [0, 3]])


def test_the_backbone_stays_as_it_is(earlier):
    folder, _ = earlier

    after, _, weights = start(EARLIER, folder)

    backbone = after.get_layer("tiny")
    assert all(np.array_equal(a, b) for a, b in zip(backbone.get_weights(), weights, strict=True))


def test_another_width_is_refused_with_what_to_do(earlier):
    folder, _ = earlier

    with pytest.raises(ThawError, match=r"its head does not fit.*\n.*head\.units"):
        start(EARLIER, folder, units=16)


def test_a_run_none_of_whose_classes_is_left_is_refused(earlier):
    folder, _ = earlier

    with pytest.raises(ThawError, match="Its classes are ant, bee, cow"):
        start(["x", "y"], folder)


def test_a_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(ThawError, match="is not the model of an earlier run's HeadTrainer"):
        start(EARLIER, tmp_path)
