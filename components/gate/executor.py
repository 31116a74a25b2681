"""Judges, and leaves the blessing that TFX's Pusher asks for."""

import json
import os
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.gate.judge import judge
from components.gate.ledger import Ledger
from components.gate.rule import GateRule
from components.gate.served import ask_served, write_answers
from components.gate.verdict import write_verdict
from trainer.blessings import PUSH_BASELINE
from trainer.calibration.record import read_calibration
from trainer.data.predictions import (
    BASELINE,
    CANDIDATE,
    Predictions,
    holds_predictions,
    read_predictions,
)
from trainer.errors import ThawError
from trainer.specs import from_json

EVALUATION = "evaluation"
MODEL = "model"
BASELINE_MODEL = "baseline_model"
BLESSING = "blessing"
EVIDENCE = "evidence"
RULE = "rule"
IMAGES = "images"
SERVING_DIR = "serving_dir"
LEDGER = "ledger"

# Properties of the blessing: the fingerprint of the test images, and how many other candidates
# they had judged before.
TEST_SPLIT = "test_split"
EARLIER_CANDIDATES = "earlier_candidates"

# TFMA's accuracies are of 32 bits.
_ROUNDING = 1e-6


class Executor(base_executor.BaseExecutor):
    """Writes the verdict and the blessing."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpacks TFX's arguments; see `judge`."""
        self._log_startup(input_dict, output_dict, exec_properties)
        rule = from_json(GateRule, json.loads(exec_properties[RULE]))
        evaluation_uri = artifact_utils.get_single_uri(input_dict[EVALUATION])
        predictions = read_predictions(evaluation_uri)
        check_metrics(evaluation_uri, predictions)
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])
        # The local runner makes the folder; the one in a pod does not.
        tf.io.gfile.makedirs(blessing.uri)
        served = None
        if exec_properties.get(SERVING_DIR):
            images_uri = artifact_utils.get_single_uri(input_dict[IMAGES])
            served = ask_served(exec_properties[SERVING_DIR], images_uri)
        if served:
            write_answers(served, blessing.uri)
        evidence = _read_evidence(input_dict)
        ledger = Ledger(exec_properties[LEDGER]) if exec_properties.get(LEDGER) else None
        look = ledger.look(predictions, rule, evidence) if ledger else None
        verdict = judge(
            predictions,
            rule,
            served,
            look,
            _temperature(input_dict, rule),
            evidence,
        )
        if ledger and look:
            p_value = verdict.choice.p_value or 0.0
            ledger.record(look, evidence or predictions, rule, verdict.outcome, p_value)
            blessing.set_int_custom_property(EARLIER_CANDIDATES, look.earlier)
            blessing.set_string_custom_property(TEST_SPLIT, look.split)
        print(verdict.sentence)
        write_verdict(verdict, blessing.uri)
        _name_models(blessing, input_dict)
        blessing.set_int_custom_property(PUSH_BASELINE, int(verdict.push_baseline))
        _bless(blessing, verdict.promotes)


def _read_evidence(input_dict: dict[str, list[types.Artifact]]) -> Predictions | None:
    """CrossFitter's predictions; None if there are none: the test split was large enough."""
    if not input_dict.get(EVIDENCE):
        return None
    uri = artifact_utils.get_single_uri(input_dict[EVIDENCE])
    return read_predictions(uri) if holds_predictions(uri) else None


def _temperature(input_dict: dict[str, list[types.Artifact]], rule: GateRule) -> float:
    """Of the candidate; only where the rule needs it."""
    if not rule.max_calibration_error:
        return 1.0
    model_dir = artifact_utils.get_single_uri(input_dict[MODEL])
    return read_calibration(path_utils.serving_model_path(model_dir)).temperature


def check_metrics(evaluation_uri: str, predictions: Predictions) -> None:
    """Compares TFMA's accuracies with those of the predictions.

    Raises:
      ThawError: if they are not of the same images and answers.
    """
    for model in (BASELINE, CANDIDATE):
        result = tfma.load_eval_result(evaluation_uri, model_name=model)
        (overall,) = [metrics[""][""] for key, metrics in result.slicing_metrics if key == ()]
        counted = float(overall["accuracy"]["doubleValue"])
        ours = float(predictions.right(model).mean())
        if not abs(counted - ours) <= _ROUNDING:
            raise ThawError(
                f"the Evaluator's metrics and predictions do not agree: the {model}'s accuracy is "
                f"{counted} by the one and {ours} by the other.",
                where=evaluation_uri,
                to_do="Delete this folder, and run the same command again.",
            )


def _name_models(blessing: types.Artifact, input_dict: dict[str, list[types.Artifact]]) -> None:
    """Says which models were compared, as TFX's Evaluator does.

    Ids are left out where there are none, as on Kubeflow: TFX's entry point there would look up
    the artifact of id 0, and fail.
    """
    for key, uri_property, id_property in (
        (
            MODEL,
            constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY,
            constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY,
        ),
        (
            BASELINE_MODEL,
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY,
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY,
        ),
    ):
        model = artifact_utils.get_single_instance(input_dict[key])
        blessing.set_string_custom_property(uri_property, model.uri)
        if model.id:
            blessing.set_int_custom_property(id_property, model.id)


def _bless(blessing: types.Artifact, blessed: bool) -> None:
    name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    with tf.io.gfile.GFile(os.path.join(blessing.uri, name), "w") as file:
        file.write("")
    value = constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
