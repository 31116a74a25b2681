"""Tells each node's Beam how to run, without making its result depend on it."""

import copy
from collections.abc import Sequence
from typing import Any

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.portable.beam_executor_operator import BeamExecutorOperator
from tfx.proto.orchestration.executable_spec_pb2 import BeamExecutableSpec

from pipeline.config import Beam


def give_options(nodes: Sequence[BaseNode], beam: Beam) -> None:
    """Gives every Beam node the options for all and, after them, its own.

    Not through `Pipeline(beam_pipeline_args=…)`: a compiled spec would then hand them to
    nodes that do not use Beam, and these would run again when an option changes.
    """
    own = beam.nodes.model_dump()
    for node in nodes:
        if isinstance(node, BaseBeamComponent):
            node.with_beam_pipeline_args([*beam.options, *own[node.id]])


def set_apart(spec: Any) -> tuple[Any, dict[Any, Any]]:
    """Takes Beam's options out of what a node's cache depends on.

    TFX's launcher hashes the whole executor spec, options included, though the same
    features come from one process, from eight and from Flink.

    Args:
      spec: of a node's executor, from the intermediate representation.

    Returns:
      What the launcher is to see, and its `custom_executor_operators`, which run the
      executor with the options all the same.
    """
    if not isinstance(spec, BeamExecutableSpec):
        return spec, {}
    seen = copy.deepcopy(spec)
    seen.ClearField("beam_pipeline_args")
    seen.ClearField("beam_pipeline_args_placeholders")

    def operator(executor_spec: Any, platform_config: Any = None) -> BeamExecutorOperator:
        return BeamExecutorOperator(spec, platform_config)

    return seen, {BeamExecutableSpec: operator}
