"""The component's interface."""

from tfx.components import Tuner
from tfx.dsl.components.base import executor_spec

from components.tuner import executor


class TwoStageTuner(Tuner):
    """TFX's Tuner; what it leaves tells of every trial of both stages."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)


class LaunchedTuner(TwoStageTuner):
    """The search; `custom_config["worker_group"]` may ask for a job of its own."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.LaunchedExecutor)
