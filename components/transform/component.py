"""The component's interface."""

from tfx.components import Transform
from tfx.dsl.components.base import executor_spec

from components.transform import executor


class ImageTransform(Transform):
    """TFX's Transform for images: small batches, and the data card travels along."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
