"""The component's interface."""

from tfx import types
from tfx.components import ExampleValidator
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter

from components.example_validator import executor
from trainer import records
from trainer.data.rules import DriftRule


class StrictExampleValidatorSpec(standard_component_specs.ExampleValidatorSpec):
    """TFX's inputs and outputs, and what is compared with the run before."""

    PARAMETERS = {
        **standard_component_specs.ExampleValidatorSpec.PARAMETERS,
        executor.DRIFT: ExecutionParameter(type=str, optional=True),
    }


class StrictExampleValidator(ExampleValidator):
    """TFX's ExampleValidator; an anomaly fails the run with its text.

    It also compares the training images with those of the run before.
    """

    SPEC_CLASS = StrictExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self, statistics: types.BaseChannel, schema: types.BaseChannel, drift: DriftRule
    ) -> None:
        """Args:
        statistics: of the examples.
        schema: that they must fit.
        drift: how far the training images may be from those of the run before.
        """
        spec = StrictExampleValidatorSpec(
            statistics=statistics,
            schema=schema,
            exclude_splits="[]",
            drift=records.dumps(drift),
            anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
        )
        # Not its own constructor, which makes a spec without the rule.
        base_component.BaseComponent.__init__(self, spec=spec)
