"""The components' interfaces."""

from tfx.components import Trainer
from tfx.dsl.components.base import executor_spec

from components.gang import executors
from components.tuner.component import TwoStageTuner


class GangTrainer(Trainer):
    """TFX's Trainer; `custom_config["gang"]` may ask for several workers."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executors.GangTrainerExecutor)


class GangTuner(TwoStageTuner):
    """The search; `custom_config["gang"]` may ask for a job of its own."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executors.GangTunerExecutor)
