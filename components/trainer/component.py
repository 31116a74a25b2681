"""The component's interface."""

from tfx.components import Trainer
from tfx.dsl.components.base import executor_spec

from components.trainer import executor


class LaunchedTrainer(Trainer):
    """TFX's Trainer; `custom_config["worker_group"]` may ask for several workers."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
