"""The component's interface."""

import json

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, Channel, component_spec, standard_artifacts

from components.exporter import executor
from components.exporter.formats import ExportRule
from trainer.records import to_json


class ExporterSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of `Exporter`."""

    PARAMETERS = {
        executor.RULE: component_spec.ExecutionParameter(type=str),
        executor.EXPORTS_DIR: component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.PUSHED_MODEL: component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
        executor.MODEL_BLESSING: component_spec.ChannelParameter(
            type=standard_artifacts.ModelBlessing
        ),
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.BASELINE_MODEL: component_spec.ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
        executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {
        executor.EXPORTS: component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }


class Exporter(base_component.BaseComponent):
    """Converts the model that was pushed to other formats, asks each about every test image, and
    publishes those that answer as the SavedModel does.

    It comes after the Pusher: whatever becomes of an export, the SavedModel is served; and another
    list of formats makes no new version of it.
    """

    SPEC_CLASS = ExporterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        pushed_model: BaseChannel,
        model_blessing: BaseChannel,
        model: BaseChannel,
        examples: BaseChannel,
        rule: ExportRule,
        exports_dir: str,
        baseline_model: BaseChannel | None = None,
    ) -> None:
        """Args:
        pushed_model: the Pusher's; nothing is exported if it holds none.
        model_blessing: Gate's, which says whether the candidate is what was pushed.
        model: the candidate.
        examples: what Transform wrote: the images as the model sees them.
        rule: what to export, and what it may lose.
        exports_dir: exports are published into numbered folders below it, numbered like the model.
        baseline_model: exported if it was pushed in the candidate's place.
        """
        super().__init__(
            ExporterSpec(
                pushed_model=pushed_model,
                model_blessing=model_blessing,
                model=model,
                baseline_model=baseline_model,
                examples=examples,
                rule=json.dumps(to_json(rule), sort_keys=True),
                exports_dir=exports_dir,
                exports=Channel(type=standard_artifacts.PushedModel),
            )
        )
