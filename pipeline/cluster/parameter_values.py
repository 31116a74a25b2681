"""Puts the values of runtime parameters into the arguments of a node that is about to run."""

import json
from collections.abc import Mapping
from typing import TypeAlias

from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.cluster.parameters import PARAMETERS, Value, value_in, with_values
from pipeline.cluster.target import ClusterError
from pipeline.config.schema import Config

Json: TypeAlias = dict[str, "Json | list[Json] | str | float | bool | None"]


def take_values(asked: spec_pb2.ExecutorInput) -> dict[str, Value]:
    """Removes the runtime parameters from a task's input, and returns them by name.

    Args:
      asked: the task's input; as Kubeflow passes it, or Vertex AI (schema 2.0).

    Raises:
      ClusterError: if a value is not allowed.
    """
    given: dict[str, Value] = {}
    for parameter in PARAMETERS:
        if parameter.name in asked.inputs.parameter_values:
            value = asked.inputs.parameter_values[parameter.name]
            given[parameter.name] = getattr(value, str(value.WhichOneof("kind")))
            del asked.inputs.parameter_values[parameter.name]
        elif parameter.name in asked.inputs.parameters:
            old = asked.inputs.parameters[parameter.name]
            given[parameter.name] = getattr(old, str(old.WhichOneof("value")))
            del asked.inputs.parameters[parameter.name]
    allowed = with_values(Config(), given)
    return {one.name: value_in(allowed, one) for one in PARAMETERS if one.name in given}


def set_arguments(node: str, asked: spec_pb2.ExecutorInput, values: Mapping[str, Value]) -> None:
    """Changes a node's arguments to what they would be with these values in the config.

    Args:
      node: its name in the pipeline.
      asked: the node's input; changed in place.
      values: from `take_values`.
    """
    for parameter in PARAMETERS:
        if parameter.name not in values:
            continue
        for place in parameter.places.get(node, ()):
            argument, _, path = place.partition(".")
            text = _argument(asked, argument)
            value = values[parameter.name]
            _set_argument(asked, argument, _replaced(text, path, value) if path else str(value))


def _argument(asked: spec_pb2.ExecutorInput, name: str) -> str:
    if name in asked.inputs.parameter_values:
        return asked.inputs.parameter_values[name].string_value
    return asked.inputs.parameters[name].string_value


def _set_argument(asked: spec_pb2.ExecutorInput, name: str, text: str) -> None:
    if name in asked.inputs.parameter_values:
        asked.inputs.parameter_values[name].string_value = text
    else:
        asked.inputs.parameters[name].string_value = text


def _replaced(text: str, path: str, value: Value) -> str:
    """JSON with another value at a path; the text as it is where that is its value already.

    Raises:
      ClusterError: if there is no such path: the pipeline is of another version than this image.
    """
    outer = json.loads(text)
    *sections, last = path.split(".")
    inner = outer
    for section in sections:
        inner = inner.get(section, {})
    if last not in inner:
        raise ClusterError(
            f"{path} is missing in the arguments of the node.",
            to_do="The pipeline was compiled by another version than the image has: compile it "
            "again with the image's own.",
        )
    if inner[last] == value:
        return text
    inner[last] = value
    return json.dumps(outer, sort_keys=True)
