"""The component's interface."""

import json

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import BaseChannel, Channel, component_spec, standard_artifacts

from components.cross_fitter import executor
from trainer import records
from trainer.specs import CrossFitArgs


class CrossFitterSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of `CrossFitter`."""

    PARAMETERS = {executor.SETTINGS: component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        executor.FEATURES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        executor.TRUNK: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.HYPERPARAMETERS: component_spec.ChannelParameter(
            type=standard_artifacts.HyperParameters, optional=True
        ),
    }
    OUTPUTS = {
        executor.EVIDENCE: component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
    }


class CrossFitter(base_beam_component.BaseBeamComponent):
    """Runs both fits once a fold, on the trunk's features of all images.

    Its output `evidence` holds both models' predictions of every image, each by models that were
    trained without it; nothing where the test split is large enough, if the settings ask for that.
    """

    SPEC_CLASS = CrossFitterSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        features: BaseChannel,
        trunk: BaseChannel,
        settings: CrossFitArgs,
        hyperparameters: BaseChannel | None = None,
    ) -> None:
        """Args:
        features: what TrunkFeatures wrote.
        trunk: the weights that it used.
        settings: of both fits and of the folds.
        hyperparameters: the Tuner's, which replace those of the settings.
        """
        super().__init__(
            CrossFitterSpec(
                features=features,
                trunk=trunk,
                hyperparameters=hyperparameters,
                settings=json.dumps(records.to_json(settings), sort_keys=True),
                evidence=Channel(type=standard_artifacts.ModelEvaluation),
            )
        )
