"""Whether a gain can be chance: facts of the statistics, and textbook numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipeline.report.paired import Paired, compare

# For each image whether the baseline and the candidate were right.
outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200)


def table(both: int, baseline_only: int, candidate_only: int, neither: int) -> Paired:
    return compare(
        [(True, True)] * both
        + [(True, False)] * baseline_only
        + [(False, True)] * candidate_only
        + [(False, False)] * neither
    )


@given(outcomes=outcomes)
def test_swapping_the_models_swaps_the_counts_and_mirrors_the_interval(outcomes):
    found = compare(outcomes)
    swapped = compare([(candidate, baseline) for baseline, candidate in outcomes])

    assert (swapped.candidate_only, swapped.baseline_only) == (
        found.baseline_only,
        found.candidate_only,
    )
    assert swapped.p_value == pytest.approx(found.p_value)
    assert swapped.gain_low == pytest.approx(-found.gain_high)
    assert swapped.gain_high == pytest.approx(-found.gain_low)


@given(outcomes=outcomes)
def test_interval_holds_the_gain_and_stays_within_what_is_possible(outcomes):
    found = compare(outcomes)

    gain = (found.candidate_only - found.baseline_only) / len(outcomes)
    assert -1 <= found.gain_low <= gain <= found.gain_high <= 1
    assert found.gain_low < found.gain_high


@given(outcomes=outcomes, more=st.integers(0, 100))
def test_p_value_is_a_probability_that_images_on_which_both_agree_do_not_change(outcomes, more):
    found = compare(outcomes)

    assert 0 < found.p_value <= 1
    assert compare([*outcomes, *[(True, True)] * more]).p_value == pytest.approx(found.p_value)


def test_order_of_the_images_does_not_count():
    assert compare([(True, False), (False, True), (False, True)]) == compare(
        [(False, True), (True, False), (False, True)]
    )


def test_approval_of_a_minister_asked_twice():
    """Agresti, Categorical Data Analysis, table 10.1: 1,600 voters, of whom 150 changed
    their mind one way and 86 the other. Wald's interval there: -0.04 ± 1.96 × 0.0095."""
    found = table(both=794, baseline_only=150, candidate_only=86, neither=570)

    assert (found.baseline_only, found.candidate_only) == (150, 86)
    assert found.p_value == pytest.approx(2 * stats.binom.cdf(86, 236, 0.5))
    assert found.p_value == pytest.approx(3.7e-5, rel=0.02)
    assert found.gain_low == pytest.approx(-0.04 - 1.96 * 0.0095, abs=2e-4)
    assert found.gain_high == pytest.approx(-0.04 + 1.96 * 0.0095, abs=2e-4)


@pytest.mark.parametrize(
    ("baseline_only", "candidate_only", "p_value"),
    [(0, 1, 1.0), (0, 5, 2 / 2**5), (0, 6, 2 / 2**6), (1, 5, 14 / 2**6), (3, 3, 1.0)],
)
def test_few_differing_images_by_counting_heads_and_tails(baseline_only, candidate_only, p_value):
    found = table(20, baseline_only, candidate_only, 4)

    assert found.p_value == pytest.approx(p_value)


def test_interval_by_hand():
    """b = 6, c = 1, n = 30: (6.5 - 1.5) / 32 ± 1.96 √(8 - 25 / 32) / 32."""
    found = table(both=20, baseline_only=1, candidate_only=6, neither=3)

    assert found.gain_low == pytest.approx(5 / 32 - 1.959964 * (8 - 25 / 32) ** 0.5 / 32)
    assert found.gain_high == pytest.approx(5 / 32 + 1.959964 * (8 - 25 / 32) ** 0.5 / 32)


def test_models_that_always_agree_differ_by_chance_alone():
    found = table(both=40, baseline_only=0, candidate_only=0, neither=10)

    assert found.p_value == 1
    assert found.gain_low == -found.gain_high


def test_no_images_cannot_be_compared():
    with pytest.raises(ValueError, match="no outcomes"):
        compare([])
