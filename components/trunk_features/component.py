"""The component's interface."""

import json

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import BaseChannel, Channel, component_spec, standard_artifacts

from components.trunk_features import executor
from trainer import records
from trainer.specs import TrunkFeaturesArgs, TrunkStoreArgs, to_json


class TrunkFeaturesSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of `TrunkFeatures`."""

    PARAMETERS = {
        executor.SETTINGS: component_spec.ExecutionParameter(type=str),
        executor.STORE: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {
        executor.FEATURES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        executor.TRUNK: component_spec.ChannelParameter(type=standard_artifacts.Model),
    }


class TrunkFeatures(base_beam_component.BaseBeamComponent):
    """Runs the frozen trunk on every image, once.

    Outputs `features`: examples that hold the trunk's output in place of the image, in the
    same files and the same order; and `trunk`: the backbone's weights that it used.
    """

    SPEC_CLASS = TrunkFeaturesSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: BaseChannel,
        settings: TrunkFeaturesArgs,
        store: TrunkStoreArgs | None = None,
    ) -> None:
        """Args:
        examples: what Transform wrote.
        settings: what the features depend on besides the images.
        store: what earlier runs have computed; None: it is not kept.
        """
        super().__init__(
            TrunkFeaturesSpec(
                examples=examples,
                settings=json.dumps(to_json(settings), sort_keys=True),
                store=records.dumps(store) if store else None,
                features=Channel(type=standard_artifacts.Examples),
                trunk=Channel(type=standard_artifacts.Model),
            )
        )
