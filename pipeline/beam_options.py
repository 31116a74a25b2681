"""Applies Beam's options to nodes without making a node's cache depend on them."""

import copy
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.portable.beam_executor_operator import BeamExecutorOperator
from tfx.proto.orchestration.executable_spec_pb2 import BeamExecutableSpec
from tfx.utils import dependency_utils

from pipeline.config.schema import Beam
from trainer.process.replaced import replaced


def apply_beam_options(nodes: Sequence[BaseNode], beam: Beam) -> None:
    """Gives every Beam node the options for all and, after them, its own.

    Not through `Pipeline(beam_pipeline_args=…)`: a compiled spec would then hand them to
    nodes that do not use Beam, and these would run again when an option changes.
    """
    own = beam.nodes.model_dump()
    for node in nodes:
        if isinstance(node, BaseBeamComponent):
            node.with_beam_pipeline_args([*beam.options, *own[node.id]])


def exclude_from_cache_key(spec: Any) -> tuple[Any, dict[Any, Any]]:
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
        return _Operator(spec, platform_config)

    return seen, {BeamExecutableSpec: operator}


class _Operator(BeamExecutorOperator):
    """TFX's, but it packs no source for workers that have it: some seconds a node."""

    def run_executor(self, *arguments: Any, **named: Any) -> Any:
        if not workers_are_here(self._executor_spec.beam_pipeline_args):
            return super().run_executor(*arguments, **named)
        with replaced(dependency_utils, "make_beam_dependency_flags", lambda args: args):
            return super().run_executor(*arguments, **named)


def workers_are_here(options: Sequence[str]) -> bool:
    """Whether Beam's workers are processes of this machine and this installation."""
    known = PipelineOptions(list(options))
    loopback = known.view_as(PortableOptions).environment_type == "LOOPBACK"
    return loopback or known.view_as(StandardOptions).runner in (None, "DirectRunner")
