"""The component's interface."""

from tfx.components import SchemaGen
from tfx.dsl.components.base import executor_spec

from components.schema_gen import executor


class ImageSchemaGen(SchemaGen):
    """TFX's SchemaGen; its schema also names the image feature."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
