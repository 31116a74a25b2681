"""The rule that decides whether a candidate is promoted, as TFMA's configuration."""

import json
from dataclasses import dataclass

from google.protobuf import wrappers_pb2
from tensorflow_model_analysis import constants

# From its module: the top-level names are there only once TFX has been imported.
from tensorflow_model_analysis.proto import config_pb2

from trainer import keys
from trainer.export import EVALUATION_SIGNATURE, PROBABILITIES

CANDIDATE = "candidate"
BASELINE = "baseline"

ACCURACY = "accuracy"
TOP_K_ACCURACY = "top_k_accuracy"
LOSS = "loss"

# TFMA's accuracies are of 32 bits: the difference of two is off by 1e-7 at most, and 9 of
# 10 is 0.89999998. An accuracy equal to `min_accuracy` passes, and a gain equal to `min_gain`
# does not, though TFMA passes a change that equals its threshold. One image counts in up to five
# million.
_ROUNDING = 2e-7


@dataclass(frozen=True)
class GateRule:
    """A candidate is blessed if, on the test split, its accuracy is above the
    baseline's by more than `min_gain` and, where `min_accuracy` is set, at least that.
    """

    min_gain: float
    min_accuracy: float | None
    top_k: int

    def __str__(self) -> str:
        rule = (
            "the candidate's accuracy on the test split must exceed the baseline's by more than "
            f"{100 * self.min_gain:.1f} percentage points"
        )
        if self.min_accuracy is not None:
            rule += f" and be at least {self.min_accuracy:.1%}"
        return rule


def make_eval_config(rule: GateRule) -> config_pb2.EvalConfig:
    """Builds what TFMA runs: both models, their metrics overall and for each class."""
    return config_pb2.EvalConfig(
        model_specs=[_model_spec(CANDIDATE), _model_spec(BASELINE, is_baseline=True)],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            config_pb2.SlicingSpec(feature_keys=[keys.LABEL]),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    config_pb2.MetricConfig(class_name="ExampleCount"),
                    _gated(_metric(ACCURACY, "SparseCategoricalAccuracy"), rule),
                    _metric(TOP_K_ACCURACY, "SparseTopKCategoricalAccuracy", k=rule.top_k),
                    _metric(LOSS, "SparseCategoricalCrossentropy"),
                ]
            )
        ],
    )


def top_k_of(config: config_pb2.EvalConfig) -> int:
    """The k of the top-k accuracy in what `make_eval_config` built."""
    metrics = [json.loads(m.config or "{}") for m in config.metrics_specs[0].metrics]
    (top_k,) = [metric["k"] for metric in metrics if metric.get("name") == TOP_K_ACCURACY]
    return int(top_k)


def _model_spec(name: str, is_baseline: bool = False) -> config_pb2.ModelSpec:
    return config_pb2.ModelSpec(
        name=name,
        is_baseline=is_baseline,
        # Named, for TFMA would otherwise find out by loading the model once more.
        model_type=constants.TF_GENERIC,
        signature_name=EVALUATION_SIGNATURE,
        label_key=keys.LABEL_ID,
        prediction_key=PROBABILITIES,
    )


def _metric(name: str, class_name: str, **config: int) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        class_name=class_name, config=json.dumps({"name": name, **config})
    )


def _gated(metric: config_pb2.MetricConfig, rule: GateRule) -> config_pb2.MetricConfig:
    """Puts the rule on the metric, for the whole split alone.

    A plain threshold would have to hold in every class as well; and one named in
    `MetricsSpec.thresholds` TFMA does not find.
    """
    threshold = config_pb2.MetricThreshold(
        change_threshold=config_pb2.GenericChangeThreshold(
            direction=config_pb2.HIGHER_IS_BETTER,
            absolute=wrappers_pb2.DoubleValue(value=rule.min_gain + _ROUNDING),
        )
    )
    if rule.min_accuracy is not None:
        threshold.value_threshold.lower_bound.value = rule.min_accuracy - _ROUNDING
    metric.per_slice_thresholds.add(slicing_specs=[config_pb2.SlicingSpec()], threshold=threshold)
    return metric
