"""What Kubeflow Pipelines passes to a task and takes back, in this machine's own paths.

Artifacts that a task reads by their addresses alone come in as a parameter, so that the
pipeline's launcher does not download them: the task that makes an artifact `examples` gives
its description as an output parameter `examples_reference`, as JSON of a RuntimeArtifact.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from trainer.store import uris
from trainer.store.uris import Kind, StoreSettings

REFERENCE = "_reference"
"""Ends the names of parameters that describe an artifact."""


@dataclass(frozen=True)
class LocalPaths:
    """Where the pipeline's launcher has put artifacts, or takes them from, by their names."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


class ExecutorInput:
    """One task's input, and the way back from what it reports of its outputs.

    Attributes:
      local: the input as TFX gets it: artifacts at paths that this machine reads and writes.
    """

    def __init__(self, text: str, settings: StoreSettings, paths: LocalPaths) -> None:
        """Args:
        text: JSON of the ExecutorInput.
        settings: how this machine reaches the store.
        paths: artifacts that are to be read and written elsewhere than the store says.
        """
        self._asked = json_format.Parse(text, spec_pb2.ExecutorInput(), ignore_unknown_fields=True)
        self._settings = settings
        self._places: dict[str, str] = {}
        self.local = spec_pb2.ExecutorInput()
        self.local.CopyFrom(self._asked)
        # TFX would look for artifacts of these names.
        self.local.outputs.parameters.clear()
        _resolve_references(self.local)
        self._localize(self.local.inputs.artifacts, paths.inputs)
        self._localize(self.local.outputs.artifacts, paths.outputs)
        if settings.kind is Kind.MOUNTED:
            for value in self.local.inputs.parameter_values.values():
                if value.WhichOneof("kind") == "string_value":
                    value.string_value = uris.to_mount(value.string_value, settings)

    def _localize(
        self, artifacts: Mapping[str, spec_pb2.ArtifactList], paths: Mapping[str, str]
    ) -> None:
        for name, list_ in artifacts.items():
            for artifact in list_.artifacts:
                uri = artifact.uri
                if name in paths:
                    artifact.uri = paths[name]
                elif self._settings.kind is Kind.MOUNTED:
                    artifact.uri = uris.to_mount(uri, self._settings)
                self._places[artifact.uri] = uri

    def output_places(self) -> dict[str, str]:
        """Path and address of each output."""
        return {
            list_.artifacts[0].uri: self._asked.outputs.artifacts[name].artifacts[0].uri
            for name, list_ in self.local.outputs.artifacts.items()
        }

    def report(self, text: str) -> str:
        """What the task reports, in the store's own addresses, as JSON of an ExecutorOutput.

        Args:
          text: what TFX reports, with this machine's paths.
        """
        for path, uri in sorted(self._places.items(), key=lambda one: -len(one[0])):
            text = text.replace(path, uri)
        if self._settings.kind is Kind.MOUNTED:
            text = uris.from_mount(text, self._settings)
        output = json_format.Parse(text, spec_pb2.ExecutorOutput())
        for parameter in self._asked.outputs.parameters:
            name = parameter.removesuffix(REFERENCE)
            described = spec_pb2.RuntimeArtifact()
            described.CopyFrom(self._asked.outputs.artifacts[name].artifacts[0])
            described.metadata.CopyFrom(output.artifacts[name].artifacts[0].metadata)
            output.parameter_values[parameter].CopyFrom(
                struct_pb2.Value(string_value=json_format.MessageToJson(described, indent=None))
            )
        return json_format.MessageToJson(output)


def _resolve_references(asked: spec_pb2.ExecutorInput) -> None:
    """Turns parameters that describe an artifact into inputs."""
    for parameter in list(asked.inputs.parameter_values):
        if parameter.endswith(REFERENCE):
            value = asked.inputs.parameter_values[parameter]
            artifact = json_format.Parse(value.string_value, spec_pb2.RuntimeArtifact())
            name = parameter.removesuffix(REFERENCE)
            asked.inputs.artifacts[name].artifacts.append(artifact)
            del asked.inputs.parameter_values[parameter]
