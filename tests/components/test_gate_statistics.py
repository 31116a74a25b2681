"""The gate's tests against scipy's, and against enumeration where scipy has none."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from components.gate.statistics import (
    Pairs,
    accuracy_bound,
    accuracy_gain,
    detectable_gain,
    gain_interval,
    holm,
    images_needed,
    macro_recall_gain,
    power,
    sign_flip_p_value,
)

answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def pairs_of(outcomes: list[tuple[bool, bool]], groups: list[int] | None = None) -> Pairs:
    baseline, candidate = np.array(outcomes, bool).T
    numbers = np.arange(len(outcomes)) if groups is None else np.array(groups)
    return Pairs(baseline, candidate, numbers)


@given(answers)
def test_of_single_images_it_is_mcnemars_exact_test(outcomes):
    pairs = pairs_of(outcomes)
    better, worse = (int(np.sum(pairs.difference == sign)) for sign in (1, -1))

    found = sign_flip_p_value(pairs.by_group())

    if better + worse == 0:
        assert found == 1
    else:
        expected = stats.binomtest(better, better + worse, 0.5, "greater").pvalue
        assert found == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.integers(-4, 4), max_size=9))
def test_of_groups_it_counts_all_ways_in_which_signs_may_fall(sums):
    ways = itertools.product(*([-abs(one), abs(one)] for one in sums))
    totals = [sum(way) for way in ways]
    expected = sum(total >= sum(sums) for total in totals) / len(totals)

    assert sign_flip_p_value(sums) == pytest.approx(expected, abs=1e-12)


def test_images_that_share_their_fate_count_as_one():
    outcomes = [(False, True)] * 10
    alone = sign_flip_p_value(pairs_of(outcomes).by_group())
    together = sign_flip_p_value(pairs_of(outcomes, [0] * 5 + [1] * 5).by_group())

    assert alone == pytest.approx(2**-10)
    assert together == pytest.approx(2**-2)


@given(answers, st.randoms())
def test_the_order_of_the_images_does_not_matter(outcomes, random):
    groups = [random.randrange(5) for _ in outcomes]
    rows = list(range(len(outcomes)))
    random.shuffle(rows)
    one = pairs_of(outcomes, groups)
    other = pairs_of([outcomes[row] for row in rows], [groups[row] for row in rows])

    assert sign_flip_p_value(one.by_group()) == pytest.approx(sign_flip_p_value(other.by_group()))
    assert gain_interval(one) == pytest.approx(gain_interval(other))


@given(answers)
def test_the_interval_is_agresti_and_mins(outcomes):
    """By hand: half an image is added to each cell of the 2×2 table."""
    pairs = pairs_of(outcomes)
    n = len(outcomes) + 2
    better = np.sum(pairs.difference == 1) + 0.5
    worse = np.sum(pairs.difference == -1) + 0.5
    margin = 1.959964 * np.sqrt(better + worse - (better - worse) ** 2 / n) / n

    low, high = gain_interval(pairs)

    assert low == pytest.approx(max(-1, (better - worse) / n - margin), abs=1e-6)
    assert high == pytest.approx(min(1, (better - worse) / n + margin), abs=1e-6)


def test_groups_that_share_their_fate_widen_the_interval():
    outcomes = [(False, True)] * 30 + [(True, False)] * 20 + [(True, True)] * 50
    alone = gain_interval(pairs_of(outcomes))
    grouped = gain_interval(pairs_of(outcomes, [number // 10 for number in range(100)]))

    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_the_bound_of_an_accuracy_is_clopper_and_pearsons(right):
    found = accuracy_bound(np.array(right), np.arange(len(right)), 0.05)

    exact = stats.binomtest(sum(right), len(right), alternative="greater")
    assert found == pytest.approx(exact.proportion_ci(0.95, "exact").low, abs=1e-9)


@given(st.lists(st.booleans(), min_size=2, max_size=100), st.randoms())
def test_groups_never_raise_the_bound(right, random):
    groups = np.array([random.randrange(5) for _ in right])
    answers = np.array(right)

    grouped = accuracy_bound(answers, groups, 0.05)

    assert grouped <= accuracy_bound(answers, np.arange(len(right)), 0.05) + 1e-9


@pytest.mark.parametrize(("images", "discordance", "gain"), [(60, 0.2, 0.1), (300, 0.1, 0.03)])
def test_power_is_that_of_every_table_that_can_be_drawn(images, discordance, gain):
    """Summed over the numbers of images in favour of each model."""
    better, worse = (discordance + gain) / 2, (discordance - gain) / 2
    expected = 0.0
    for wins in range(images + 1):
        losses = np.arange(images - wins + 1)
        shown = stats.binom.sf(wins - 1, wins + losses, 0.5) < 0.05
        chance = stats.multinomial.pmf(
            np.stack([np.full_like(losses, wins), losses, images - wins - losses], axis=1),
            images,
            [better, worse, 1 - discordance],
        )
        expected += float(np.sum(chance[shown]))

    assert power(images, discordance, gain, 0.05) == pytest.approx(expected, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(30, 2_000), st.floats(0.05, 0.5))
def test_the_gain_that_can_be_seen_is_seen_in_four_cases_of_five(images, discordance):
    gain = detectable_gain(images, discordance, 0.05)

    if gain is None:
        assert power(images, discordance, discordance, 0.05) < 0.8
    else:
        assert power(images, discordance, gain, 0.05) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("discordance", "gain"), [(0.1, 0.03), (0.2, 0.05), (0.05, 0.02)])
def test_so_many_images_show_the_gain(discordance, gain):
    needed = images_needed(discordance, gain, 0.05)

    assert power(needed, discordance, gain, 0.05) == pytest.approx(0.8, abs=0.03)


def test_with_classes_of_one_size_macro_recall_is_accuracy():
    """The bootstrap then agrees with the exact test, but for its own error."""
    random = np.random.default_rng(0)
    outcomes = list(zip(random.random(400) < 0.7, random.random(400) < 0.75, strict=True))
    pairs = pairs_of(outcomes)
    classes = np.arange(400) % 4

    found, exact = macro_recall_gain(pairs, classes), accuracy_gain(pairs)

    assert found.estimate == pytest.approx(exact.estimate)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.01)
    assert found.p_value == pytest.approx(exact.p_value, abs=0.03)
    assert found.p_value_of_loss == pytest.approx(1 - found.p_value, abs=0.02)
    assert found == macro_recall_gain(pairs, classes)


def test_the_bootstrap_draws_groups():
    outcomes = [(False, True)] * 30 + [(True, False)] * 20 + [(True, True)] * 50
    classes = np.arange(100) % 2
    alone = macro_recall_gain(pairs_of(outcomes), classes)
    scenes = [number // 10 for number in range(100)]
    grouped = macro_recall_gain(pairs_of(outcomes, scenes), classes)

    assert grouped.error > 2 * alone.error
    assert grouped.p_value > alone.p_value


def test_one_group_alone_shows_nothing():
    found = macro_recall_gain(pairs_of([(False, True)] * 9, [0] * 9), np.arange(9) % 2)

    assert (found.estimate, found.p_value, found.low, found.high) == (1.0, 1.0, -1.0, 1.0)


def test_p_values_of_several_classes_are_adjusted():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
