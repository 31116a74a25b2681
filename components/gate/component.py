"""The component's interface."""

import json

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, Channel, component_spec, standard_artifacts

from components.gate import executor
from components.gate.rule import GateRule
from trainer.records import to_json


class GateSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of `Gate`."""

    PARAMETERS = {
        executor.RULE: component_spec.ExecutionParameter(type=str),
        executor.SERVING_DIR: component_spec.ExecutionParameter(type=str, optional=True),
        executor.LEDGER: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        executor.EVALUATION: component_spec.ChannelParameter(
            type=standard_artifacts.ModelEvaluation
        ),
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.BASELINE_MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.EVIDENCE: component_spec.ChannelParameter(
            type=standard_artifacts.ModelEvaluation, optional=True
        ),
        executor.IMAGES: component_spec.ChannelParameter(
            type=standard_artifacts.Examples, optional=True
        ),
    }
    OUTPUTS = {
        executor.BLESSING: component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Gate(base_component.BaseComponent):
    """Decides by the test images' predictions whether the candidate is promoted.

    Its output `blessing` is what TFX's Pusher takes, with the verdict beside it.
    """

    SPEC_CLASS = GateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        evaluation: BaseChannel,
        model: BaseChannel,
        baseline_model: BaseChannel,
        rule: GateRule,
        evidence: BaseChannel | None = None,
        images: BaseChannel | None = None,
        serving_dir: str | None = None,
        ledger: str | None = None,
    ) -> None:
        """Args:
        evaluation: the Evaluator's, with both models' predictions.
        model: the candidate.
        baseline_model: what the candidate is compared with.
        rule: the limits.
        evidence: CrossFitter's predictions of all images, which the choice is judged by; None: the
          test split is the evidence.
        images: what ImageExampleGen wrote; the model that is served now is asked about them.
        serving_dir: folder with that model's versions; None: compare with none.
        ledger: local file in which looks at the test images are counted; None: they are not.
        """
        super().__init__(
            GateSpec(
                evaluation=evaluation,
                model=model,
                baseline_model=baseline_model,
                rule=json.dumps(to_json(rule), sort_keys=True),
                evidence=evidence,
                images=images,
                serving_dir=serving_dir,
                ledger=ledger,
                blessing=Channel(type=standard_artifacts.ModelBlessing),
            )
        )
