"""How the weights from before and after a fit are mixed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.fits.mixing import SHARES, choose_share, mix

BEFORE = [np.array([0.0, 4.0], np.float32), np.array([[1.0]], np.float32)]
AFTER = [np.array([8.0, 0.0], np.float32), np.array([[3.0]], np.float32)]


def choose(losses: list[float]):
    remaining = iter(losses)
    return choose_share(BEFORE, AFTER, lambda weights: next(remaining))


def test_the_mixture_with_the_lowest_loss_is_kept():
    weights, record = choose([5.0, 4.0, 3.0, 2.0, 4.0])

    assert record.chosen == 0.75
    assert record.val_losses == (5.0, 4.0, 3.0, 2.0, 4.0)
    np.testing.assert_array_equal(weights[0], [6.0, 1.0])
    np.testing.assert_array_equal(weights[1], [[2.5]])


def test_of_equal_mixtures_that_with_less_of_the_fit_is_kept():
    assert choose([1.0] * 5)[1].chosen == 0.0
    assert choose([2.0, 1.0, 1.0, 1.0, 1.0])[1].chosen == 0.25


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_never_chosen(broken):
    _, record = choose([9.0, broken, broken, broken, broken])

    assert record.chosen == 0.0
    assert record.val_losses == (9.0, None, None, None, None)
    assert choose([broken] * 5)[1].chosen == 0.0


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9), st.sampled_from(SHARES))
def test_a_mixture_lies_between_both_and_its_ends_are_exactly_them(values, share):
    before = [np.array(values, np.float32)]
    after = [np.array(values[::-1], np.float32)]

    (mixed,) = mix(before, after, share)

    assert mixed.dtype == np.float32
    room = 1e-6 * np.abs(before[0]).max()
    assert (mixed >= np.minimum(before[0], after[0]) - room).all()
    assert (mixed <= np.maximum(before[0], after[0]) + room).all()
    if share in (0.0, 1.0):
        np.testing.assert_array_equal(mixed, after[0] if share else before[0])
