"""Runs a compiled pipeline on this machine, as a pipeline service runs it on a cluster.

Walks the tasks of the spec in the order of their dependencies, gives each the executor
input that a service would make, runs its container's own command, and hands on what the
command says of its outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.cluster.submit import in_order

from .containers import Command
from .specs import deployment_of

PLACEHOLDER = "{{$}}"

Run = Callable[[Command, Path], None]


@dataclass
class SpecRun:
    """One run of a compiled pipeline.

    Attributes:
      spec: of either schema.
      directory: of this run: the root of all artifacts, and a folder for each task's log.
      named: whether artifacts get names, as on Vertex AI; Kubeflow's have none.
      before: whether a container's check before the cache look-up is run, as on Vertex AI.
      outputs: by task and output, as the tasks told.
      checked: by task, what its check told.
    """

    spec: spec_pb2.PipelineSpec
    directory: Path
    named: bool = False
    before: bool = False
    outputs: dict[str, dict[str, spec_pb2.ArtifactList]] = field(default_factory=dict)
    checked: dict[str, spec_pb2.ExecutorOutput] = field(default_factory=dict)

    def tasks(self) -> list[str]:
        """First to last."""
        tasks = self.spec.root.dag.tasks
        return in_order({name: sorted(task.dependent_tasks) for name, task in tasks.items()})

    def run(self, task: str, run: Run) -> None:
        """Runs one task whose producers have been run."""
        home = self.directory / "tasks" / task
        home.mkdir(parents=True)
        asked = self.executor_input(task, home)
        container = self._container(task)
        environment = {one.name: one.value for one in container.env}
        text = json_format.MessageToJson(asked, indent=None)
        if self.before and container.lifecycle.HasField("pre_cache_check"):
            check = container.lifecycle.pre_cache_check
            words = [*check.command, *check.args]
            run(Command(_resolve(words, text), environment), home / "log")
            self.checked[task] = _output(asked)
        words = [*container.command, *container.args]
        run(Command(_resolve(words, text), environment), home / "log")
        self.outputs[task] = _told(asked)

    def executor_input(self, task: str, home: Path) -> spec_pb2.ExecutorInput:
        """What the service tells a task: parameters, artifacts, and where outputs go."""
        asked = spec_pb2.ExecutorInput()
        inputs = self.spec.root.dag.tasks[task].inputs
        for name, parameter in inputs.parameters.items():
            value = parameter.runtime_value
            if value.WhichOneof("value") == "constant":
                asked.inputs.parameter_values[name].CopyFrom(value.constant)
            else:
                asked.inputs.parameters[name].CopyFrom(value.constant_value)
        for name, artifact in inputs.artifacts.items():
            produced = artifact.task_output_artifact
            given = self.outputs[produced.producer_task][produced.output_artifact_key]
            asked.inputs.artifacts[name].CopyFrom(given)
        component = self.spec.components[self.spec.root.dag.tasks[task].component_ref.name]
        for name, output in component.output_definitions.artifacts.items():
            artifact = asked.outputs.artifacts[name].artifacts.add(
                type=output.artifact_type, uri=f"{self.directory}/artifacts/{task}/{name}"
            )
            artifact.metadata.CopyFrom(output.metadata)
            if self.named:
                artifact.name = f"projects/1/locations/l/metadataStores/d/artifacts/{task}-{name}"
        asked.outputs.output_file = str(home / "output_metadata.json")
        return asked

    def uri(self, task: str, output: str) -> str:
        """Where an output is."""
        return self.outputs[task][output].artifacts[0].uri

    def metadata(self, task: str, output: str) -> dict[str, Any]:
        """What a task said of an output."""
        return json_format.MessageToDict(self.outputs[task][output].artifacts[0].metadata)

    def _container(self, task: str) -> Any:
        label = self.spec.components[
            self.spec.root.dag.tasks[task].component_ref.name
        ].executor_label
        return deployment_of(self.spec).executors[label].container


def _resolve(words: list[str], executor_input: str) -> list[str]:
    return [executor_input if word == PLACEHOLDER else word for word in words]


def _told(asked: spec_pb2.ExecutorInput) -> dict[str, spec_pb2.ArtifactList]:
    """The outputs as they were asked for, with what the task said of them over it."""
    outputs = dict(asked.outputs.artifacts.items())
    for name, list_ in _output(asked).artifacts.items():
        artifact, said = outputs[name].artifacts[0], list_.artifacts[0]
        assert said.uri == artifact.uri, f"{name} was put elsewhere"
        artifact.metadata.update(json_format.MessageToDict(said.metadata))
    return outputs


def _output(asked: spec_pb2.ExecutorInput) -> spec_pb2.ExecutorOutput:
    text = Path(asked.outputs.output_file).read_text()
    return json_format.Parse(text, spec_pb2.ExecutorOutput())
