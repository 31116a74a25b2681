"""Declares the runtime parameters in a compiled pipeline, and passes them to the nodes."""

from collections.abc import Iterable

from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.cluster.parameters import RuntimeParameter, value_in
from pipeline.cluster.report_inputs import NODE as REPORT
from pipeline.cluster.target import Target
from pipeline.config.schema import Config

_TYPES = {
    str: (spec_pb2.ParameterType.STRING, spec_pb2.PrimitiveType.STRING),
    int: (spec_pb2.ParameterType.NUMBER_INTEGER, spec_pb2.PrimitiveType.INT),
    float: (spec_pb2.ParameterType.NUMBER_DOUBLE, spec_pb2.PrimitiveType.DOUBLE),
}


def add_parameters(
    spec: spec_pb2.PipelineSpec,
    config: Config,
    target: Target,
    parameters: Iterable[RuntimeParameter],
) -> None:
    """Adds inputs of the pipeline, and of each node that reads them and of the report.

    Args:
      spec: with all its tasks; changed in place.
      config: has the defaults.
      target: schema 2.0 (Vertex AI) has no defaults here; `runtime_values` has them.
      parameters: from `parameters_of`.
    """
    for parameter in parameters:
        root = spec.root.input_definitions.parameters[parameter.name]
        _set_type(root, parameter, target)
        if target is Target.KUBEFLOW:
            root.description = f"{parameter.key} of the config"
            _set_default(root, value_in(config, parameter))
        for node in (*parameter.places, REPORT):
            if node in spec.root.dag.tasks:
                _pass(spec, node, parameter, target)


def runtime_values(
    config: Config, parameters: Iterable[RuntimeParameter]
) -> dict[str, dict[str, str | int | float]]:
    """The defaults as a job of schema 2.0 has them: name -> one of three typed fields."""
    fields = {str: "stringValue", int: "intValue", float: "doubleValue"}
    return {
        parameter.name: {fields[parameter.kind]: value_in(config, parameter)}
        for parameter in parameters
    }


def _set_type(
    definition: spec_pb2.ComponentInputsSpec.ParameterSpec,
    parameter: RuntimeParameter,
    target: Target,
) -> None:
    new, old = _TYPES[parameter.kind]
    if target is Target.VERTEX:
        definition.type = old
    else:
        definition.parameter_type = new


def _set_default(
    definition: spec_pb2.ComponentInputsSpec.ParameterSpec, value: str | float
) -> None:
    if isinstance(value, str):
        definition.default_value.string_value = value
    else:
        definition.default_value.number_value = value


def _pass(
    spec: spec_pb2.PipelineSpec, node: str, parameter: RuntimeParameter, target: Target
) -> None:
    task = spec.root.dag.tasks[node]
    component = spec.components[task.component_ref.name]
    _set_type(component.input_definitions.parameters[parameter.name], parameter, target)
    task.inputs.parameters[parameter.name].component_input_parameter = parameter.name
