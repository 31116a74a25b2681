"""The component's interface."""

from tfx.components import ExampleValidator
from tfx.dsl.components.base import executor_spec

from components.example_validator import executor


class StrictExampleValidator(ExampleValidator):
    """TFX's ExampleValidator; an anomaly fails the run with its text."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
