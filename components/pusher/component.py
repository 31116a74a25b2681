"""The component's interface."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import BaseChannel, Channel, component_spec, standard_artifacts
from tfx.types import standard_component_specs as specs

from components.pusher import executor


class AtomicPusherSpec(component_spec.ComponentSpec):
    """TFX's inputs and outputs of a Pusher, and the baseline."""

    PARAMETERS = specs.PusherSpec.PARAMETERS
    INPUTS = {
        **specs.PusherSpec.INPUTS,
        executor.BASELINE_MODEL: component_spec.ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
    }
    OUTPUTS = specs.PusherSpec.OUTPUTS
    TYPE_ANNOTATION = specs.PusherSpec.TYPE_ANNOTATION


class AtomicPusher(base_component.BaseComponent):
    """TFX's Pusher; a version folder appears whole or not at all.

    Where the gate asks for it, it pushes the baseline in place of a candidate that is not blessed.
    """

    SPEC_CLASS = AtomicPusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: BaseChannel,
        model_blessing: BaseChannel,
        infra_blessing: BaseChannel,
        push_destination: pusher_pb2.PushDestination,
        baseline_model: BaseChannel | None = None,
    ) -> None:
        """Args:
        model: the candidate.
        model_blessing: Gate's.
        infra_blessing: ServingCheck's.
        push_destination: where versions go.
        baseline_model: pushed where the gate asks for it; None: never.
        """
        super().__init__(
            AtomicPusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                push_destination=push_destination,
                baseline_model=baseline_model,
                pushed_model=Channel(type=standard_artifacts.PushedModel),
            )
        )
