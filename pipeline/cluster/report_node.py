"""The last task of a compiled pipeline: shows a run in the user interface of its service.

It is a plain container task and no TFX node: what it reads of a run, and how it says it, are
those of `report.html` on one machine.
"""

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.cluster.report_inputs import INPUTS, NODE, OUTPUTS, Parameter
from pipeline.cluster.target import Target
from pipeline.config.schema import Config

_COMMAND = ("python", "-m", "pipeline.cluster.report_task")
_EXECUTOR = f"{NODE}_executor"
_SCHEMA_VERSION = "0.0.1"  # of kfp's own artifact types: `kfp.dsl.Metrics.schema_version`

# The service replaces them when the task starts (`resolveInputParameter` in
# backend/src/v2/driver/resolve.go of kubeflow/pipelines; the last one from 2.16 on).
_CONSTANTS = {
    Parameter.RUN_ID: "{{$.pipeline_job_uuid}}",
    Parameter.RUN_NAME: "{{$.pipeline_job_name}}",
    Parameter.STARTED: "{{$.pipeline_job_create_time_utc}}",
}


def add_report(spec: spec_pb2.PipelineSpec, config: Config, target: Target) -> None:
    """Adds the task to a spec that TFX compiled; call it before containers get their settings.

    Args:
      spec: changed in place.
      config: the effective config; the report shows it.
      target: decides how the parameters are written (schema 2.0 for Vertex AI, 2.1 for Kubeflow).
    """
    task = spec.root.dag.tasks[NODE]
    task.task_info.name = NODE
    task.component_ref.name = NODE
    component = spec.components[NODE]
    component.executor_label = _EXECUTOR
    for name, source in INPUTS.items():
        if source.node not in spec.root.dag.tasks:
            continue
        producer = spec.components[spec.root.dag.tasks[source.node].component_ref.name]
        produced = producer.output_definitions.artifacts[source.output].artifact_type
        component.input_definitions.artifacts[name].artifact_type.CopyFrom(produced)
        origin = task.inputs.artifacts[name].task_output_artifact
        origin.producer_task = source.node
        origin.output_artifact_key = source.output
        if source.node not in task.dependent_tasks:
            task.dependent_tasks.append(source.node)
    for parameter, value in {**_CONSTANTS, Parameter.CONFIG: config.model_dump_json()}.items():
        _add_parameter(component, task, parameter, value, target)
    for name, title in OUTPUTS.items():
        artifact_type = component.output_definitions.artifacts[name].artifact_type
        artifact_type.schema_title = title
        artifact_type.schema_version = _SCHEMA_VERSION
    _add_executor(spec)


def _add_parameter(
    component: spec_pb2.ComponentSpec,
    task: spec_pb2.PipelineTaskSpec,
    parameter: Parameter,
    value: str,
    target: Target,
) -> None:
    definition = component.input_definitions.parameters[parameter.value]
    given = task.inputs.parameters[parameter.value].runtime_value
    if target is Target.VERTEX:
        definition.type = spec_pb2.PrimitiveType.STRING
        given.constant_value.string_value = value
    else:
        definition.parameter_type = spec_pb2.ParameterType.STRING
        given.constant.string_value = value


def _add_executor(spec: spec_pb2.PipelineSpec) -> None:
    deployment = json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec), spec_pb2.PipelineDeploymentConfig()
    )
    container = deployment.executors[_EXECUTOR].container
    container.command.extend(_COMMAND)
    container.args.extend(("--executor_input", "{{$}}"))
    spec.deployment_spec.Clear()
    spec.deployment_spec.update(json_format.MessageToDict(deployment))
