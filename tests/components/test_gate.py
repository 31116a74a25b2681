"""The rule, asked through TFMA's own validator with the numbers it would compute."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_model_analysis.evaluators import metrics_validator
from tensorflow_model_analysis.metrics import metric_specs
from tensorflow_model_analysis.utils import config_util

from components.evaluator.gate import CANDIDATE, GateRule, make_eval_config
from trainer import keys

WHOLE = ()
ONE_CLASS = ((keys.LABEL, "ant"),)


def passes(rule: GateRule, baseline: float, candidate: float, of_slice: tuple = WHOLE) -> bool:
    # As TFX's Evaluator completes it.
    config = config_util.update_eval_config_with_defaults(
        make_eval_config(rule), has_baseline=True, rubber_stamp=True
    )
    # TFMA computes accuracies in 32 bits.
    before, after = float(np.float32(baseline)), float(np.float32(candidate))
    thresholds = metric_specs.metric_thresholds_from_metrics_specs(
        config.metrics_specs, eval_config=config
    )
    metrics = {
        key: after - before if key.is_diff else after
        for key in thresholds
        if key.model_name == CANDIDATE
    }
    assert metrics, "the gate has no threshold"
    return metrics_validator.validate_metrics((of_slice, metrics), config).validation_ok


@st.composite
def counts(draw) -> tuple[int, int, int]:
    """Test images, and how many of them each model gets right."""
    total = draw(st.integers(1, 5000))
    return total, draw(st.integers(0, total)), draw(st.integers(0, total))


@settings(max_examples=40, deadline=None)
@given(counts=counts())
def test_one_image_more_promotes_and_none_or_fewer_do_not(counts):
    total, baseline, candidate = counts

    assert passes(GateRule(0.0, None, 5), baseline / total, candidate / total) == (
        candidate > baseline
    )


@settings(max_examples=40, deadline=None)
@given(counts=counts())
def test_equal_models_do_not_promote(counts):
    total, baseline, _ = counts

    assert not passes(GateRule(0.0, None, 5), baseline / total, baseline / total)


@settings(max_examples=40, deadline=None)
@given(counts=counts(), asked=st.integers(0, 5000))
def test_gain_must_be_more_than_min_gain(counts, asked):
    total, baseline, candidate = counts
    rule = GateRule((asked + 0.5) / total, None, 5)

    assert passes(rule, baseline / total, candidate / total) == (candidate - baseline > asked)


@settings(max_examples=40, deadline=None)
@given(counts=counts(), asked=st.integers(0, 5000))
def test_gain_does_not_help_below_min_accuracy(counts, asked):
    total, baseline, candidate = counts
    rule = GateRule(0.0, (asked - 0.5) / total, 5)

    assert passes(rule, baseline / total, candidate / total) == (
        candidate > baseline and candidate >= asked
    )


@settings(max_examples=40, deadline=None)
@given(counts=counts())
def test_gain_that_equals_min_gain_does_not_promote(counts):
    total, baseline, candidate = counts
    rule = GateRule((candidate - baseline) / total, None, 5)

    assert not passes(rule, baseline / total, candidate / total)


@settings(max_examples=40, deadline=None)
@given(counts=counts())
def test_accuracy_that_equals_min_accuracy_promotes(counts):
    total, _, candidate = counts
    rule = GateRule(-1.5, candidate / total, 5)

    assert passes(rule, 0.5, candidate / total)


def test_rule_holds_for_the_whole_split_and_not_for_each_class():
    rule = GateRule(0.1, 0.9, 5)

    assert not passes(rule, baseline=0.9, candidate=0.5)
    assert passes(rule, baseline=0.9, candidate=0.5, of_slice=ONE_CLASS)


@pytest.mark.parametrize("accuracy", [float("nan"), float("-inf")])
def test_accuracy_that_is_no_number_does_not_promote(accuracy):
    assert not passes(GateRule(0.0, None, 5), 0.5, accuracy)


def test_rule_is_told_in_words():
    assert str(GateRule(0.015, None, 5)) == (
        "the candidate's accuracy on the test split must exceed the baseline's by more than "
        "1.5 percentage points"
    )
    assert str(GateRule(0.0, 0.9, 5)) == (
        "the candidate's accuracy on the test split must exceed the baseline's by more than "
        "0.0 percentage points and be at least 90.0%"
    )
