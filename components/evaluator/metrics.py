"""What TFMA measures of both models, as its configuration. It decides nothing: the gate does."""

import json

from tensorflow_model_analysis import constants

# From its module: the top-level names are there only once TFX has been imported.
from tensorflow_model_analysis.proto import config_pb2

from trainer import keys
from trainer.data.predictions import BASELINE, CANDIDATE
from trainer.export import EVALUATION_SIGNATURE, PROBABILITIES

ACCURACY = "accuracy"
TOP_K_ACCURACY = "top_k_accuracy"
LOSS = "loss"


def make_eval_config(top_k: int) -> config_pb2.EvalConfig:
    """Builds what TFMA runs: both models, their metrics overall and for each class.

    Args:
      top_k: the k of the top-k accuracy.
    """
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
                    _metric(ACCURACY, "SparseCategoricalAccuracy"),
                    _metric(TOP_K_ACCURACY, "SparseTopKCategoricalAccuracy", k=top_k),
                    _metric(LOSS, "SparseCategoricalCrossentropy"),
                ]
            )
        ],
    )


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
