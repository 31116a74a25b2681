"""Which artifacts a task of Kubeflow Pipelines gets by their addresses alone.

The pipeline's launcher downloads every declared input of a task before its command starts,
whether or not the command reads the copy (`downloadArtifacts` in
backend/src/v2/component/launcher_v2.go). Of a million images the features alone are 164 GB,
once on the disk of each pod that reads them and of each that only starts other pods.
"""

from collections.abc import Mapping

import yaml
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from launchers.executor_input import REFERENCE
from pipeline.config.schema import Config
from pipeline.training_nodes import NodePlacement
from trainer.store.uris import Kind

_LARGE = "tfx.Examples"


def pass_by_reference(
    spec: spec_pb2.PipelineSpec, config: Config, placements: Mapping[str, NodePlacement]
) -> None:
    """Has examples and features reach tasks as a parameter that describes them.

    The order of the tasks stays. A node that works on the launcher's copies keeps its inputs.

    Args:
      spec: as TFX compiles it; changed in place.
      config: `cluster.store` decides.
      placements: of the training nodes.
    """
    for node, task in spec.root.dag.tasks.items():
        if reads_launchers_copies(config, node, placements):
            continue
        component = spec.components[task.component_ref.name]
        for name, definition in list(component.input_definitions.artifacts.items()):
            if title_of(definition.artifact_type) == _LARGE:
                produced = task.inputs.artifacts[name].task_output_artifact
                _describe(spec, produced.producer_task, produced.output_artifact_key)
                _take_description(task, component, name, produced)


def reads_launchers_copies(
    config: Config, node: str, placements: Mapping[str, NodePlacement]
) -> bool:
    """Whether a node's own process works on what the pipeline's launcher downloads."""
    elsewhere = node in placements and placements[node].elsewhere
    return config.cluster.store.kind == Kind.STAGED.value and not elsewhere


def title_of(kind: spec_pb2.ArtifactTypeSchema) -> str:
    """The name of an artifact's type, such as `tfx.Model` or `system.HTML`."""
    if kind.schema_title:
        return str(kind.schema_title)
    return str((yaml.safe_load(kind.instance_schema) or {}).get("title", ""))


def _describe(spec: spec_pb2.PipelineSpec, producer: str, output: str) -> None:
    component = spec.components[spec.root.dag.tasks[producer].component_ref.name]
    parameter = component.output_definitions.parameters[output + REFERENCE]
    parameter.parameter_type = spec_pb2.ParameterType.STRING


def _take_description(
    task: spec_pb2.PipelineTaskSpec,
    component: spec_pb2.ComponentSpec,
    name: str,
    produced: spec_pb2.TaskInputsSpec.InputArtifactSpec.TaskOutputArtifactSpec,
) -> None:
    parameter = name + REFERENCE
    definition = component.input_definitions.parameters[parameter]
    definition.parameter_type = spec_pb2.ParameterType.STRING
    source = task.inputs.parameters[parameter].task_output_parameter
    source.producer_task = produced.producer_task
    source.output_parameter_key = produced.output_artifact_key + REFERENCE
    del task.inputs.artifacts[name]
    del component.input_definitions.artifacts[name]
