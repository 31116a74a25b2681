"""Which weights the setting stands for, and that rare classes are found with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from trainer.calibration.unknown import Pooled
from trainer.data.card import DataCard
from trainer.errors import ThawError
from trainer.fits.class_weights import class_weights
from trainer.tuning.head_trials import HeadTrials, HeadValues


def card(**counts: int) -> DataCard:
    return DataCard("photos", "", {"train": counts, "val": {}, "test": {}})


def test_none_gives_all_images_the_same_weight():
    assert class_weights("none", card(cat=3, dog=1)) == ()


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=20))
def test_balanced_is_scikit_learns(counts):
    names = [f"{number:02d}" for number in range(len(counts))]
    ids = np.repeat(np.arange(len(counts)), np.minimum(counts, 50))
    found = class_weights("balanced", card(**dict(zip(names, np.bincount(ids), strict=True))))

    expected = compute_class_weight("balanced", classes=np.unique(ids), y=ids)
    assert found == pytest.approx(expected)
    assert sum(np.bincount(ids) * found) == pytest.approx(len(ids))


def test_classes_that_are_not_named_weigh_one():
    assert class_weights({"dog": 2.5}, card(cat=3, dog=1, eel=1)) == (1.0, 2.5, 1.0)


def test_a_class_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ThawError) as caught:
        class_weights({"dgo": 2.0, "cat": 1.0}, card(cat=3, dog=1))

    assert str(caught.value) == (
        "train.class_weights: there is no class dgo. The classes are cat, dog.\n"
        "  Correct the names and run the same command again."
    )


def test_a_rare_class_is_found_once_classes_are_balanced():
    """The classes overlap, and one image in twenty is of the second."""
    random = np.random.default_rng(0)

    def vectors(common: int, rare: int) -> Pooled:
        ids = np.repeat([0, 1], [common, rare])
        inputs = random.normal(0, 1, [len(ids), 4]).astype("float32")
        inputs[:, 0] += 1.5 * ids
        return Pooled(inputs, ids)

    train, val, test = vectors(190, 10), vectors(95, 5), vectors(0, 100)

    def recall_of_rare(weights: tuple[float, ...]) -> float:
        trials = HeadTrials([train], val, 2, 16, patience=9, seed=5, class_weights=weights)
        kernel, bias, kernel_2, bias_2 = trials.weights(HeadValues(1e-2, 8, 0.0, 0.0), epochs=10)
        logits = np.maximum(test.vectors @ kernel + bias, 0) @ kernel_2 + bias_2
        return float(np.mean(np.argmax(logits, axis=-1) == 1))

    balanced = class_weights("balanced", card(a=190, b=10))

    assert recall_of_rare(balanced) > recall_of_rare(()) + 0.3
