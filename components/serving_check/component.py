"""The component's interface."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, Channel, component_spec, standard_artifacts

from components.serving_check import executor


class ServingCheckSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of `ServingCheck`."""

    PARAMETERS = {
        executor.TOLERANCE: component_spec.ExecutionParameter(type=float),
        executor.NUM_IMAGES: component_spec.ExecutionParameter(type=int),
    }
    INPUTS = {
        executor.MODEL: component_spec.ChannelParameter(type=standard_artifacts.Model),
        executor.BASELINE_MODEL: component_spec.ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
        executor.IMAGES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
        executor.EXAMPLES: component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {
        executor.BLESSING: component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
    }


class ServingCheck(base_component.BaseComponent):
    """Asks the exported model about test images twice, the way clients do and the way the
    Evaluator did, and withholds its blessing if the answers differ.
    """

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: BaseChannel,
        images: BaseChannel,
        examples: BaseChannel,
        tolerance: float,
        num_images: int = 32,
        baseline_model: BaseChannel | None = None,
    ) -> None:
        """Args:
        model: the candidate.
        images: what ImageExampleGen wrote: the files' bytes.
        examples: what the Evaluator read.
        tolerance: largest difference of a probability that is let pass.
        num_images: how many test images are asked about.
        baseline_model: checked too, if it may be pushed; the blessing is of the candidate alone.
        """
        super().__init__(
            ServingCheckSpec(
                model=model,
                baseline_model=baseline_model,
                images=images,
                examples=examples,
                tolerance=tolerance,
                num_images=num_images,
                blessing=Channel(type=standard_artifacts.InfraBlessing),
            )
        )
