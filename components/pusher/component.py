"""The component's interface."""

from tfx.components import Pusher
from tfx.dsl.components.base import executor_spec

from components.pusher import executor


class AtomicPusher(Pusher):
    """TFX's Pusher; a version folder appears whole or not at all."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
