"""Linear centred kernel alignment against its other formula, and what it must not see."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from trainer.experiments.similarity import linear_cka


def features(seed: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(3, 1, [40, width])


def test_it_is_the_one_of_feature_covariances():
    first, second = features(1, 6), features(2, 9)
    centred = [one - one.mean(axis=0) for one in (first, second)]
    norm = np.linalg.norm
    expected = norm(centred[1].T @ centred[0]) ** 2 / (
        norm(centred[0].T @ centred[0]) * norm(centred[1].T @ centred[1])
    )

    assert linear_cka(first, second) == pytest.approx(expected)
    assert 0 < expected < 1


def test_rotation_translation_and_scale_change_nothing():
    first = features(1, 6)

    assert linear_cka(first, 3 * first @ ortho_group.rvs(6, random_state=0) + 5) == pytest.approx(1)


def test_features_that_do_not_vary_are_like_nothing():
    assert linear_cka(features(1, 6), np.ones([40, 6])) == 0
