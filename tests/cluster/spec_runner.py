"""Runs a compiled pipeline on this machine, as a pipeline service runs it on a cluster.

Walks the tasks of the spec in the order of their dependencies, gives each the executor
input that a service would make, runs its container's own command, and hands on what the
command says of its outputs.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.cluster.tasks import in_order

from .containers import Command
from .specs import deployment_of

PLACEHOLDER = "{{$}}"
RUN = "6c0d4a2e-run"
SALT = "5e1b-salt"

Run = Callable[[Command, Path], None]


class Service(Enum):
    """Whose executor inputs a run gets.

    Kubeflow's are those that the driver of kubeflow/pipelines makes (`provisionOutputs` in
    backend/src/v2/driver): outputs at `<root>/<pipeline>/<run>/<task>/<salt>/<output>`, inputs
    named by their number in the metadata store (`toRuntimeArtifact`, backend/src/v2/metadata).
    Up to 2.14 outputs have no names, and the file for what a task says of them is
    `/tmp/kfp_outputs/output_metadata.json`. From 2.15 on an output is named like its key, and
    the file is `output_metadata.json` in the local copy of the task's folder, for which the
    launcher writes `/gcs/` in place of `gs://` (`LocalPathForURI`, backend/src/v2/component).
    Either file belongs to the task's pod alone.

    On Vertex AI all artifacts have names, the file is in the bucket, and a container's check
    runs before the cache is asked.
    """

    KUBEFLOW_2_14 = "Kubeflow Pipelines up to 2.14"
    KUBEFLOW = "Kubeflow Pipelines from 2.15 on"
    VERTEX = "Vertex AI"


@dataclass
class SpecRun:
    """One run of a compiled pipeline.

    Attributes:
      spec: of either schema.
      directory: of this run: holds the root of all artifacts, and a folder for each task's log.
      service: whose inputs the tasks get.
      outputs: by task and output, as the tasks told.
      checked: by task, what its check told.
    """

    spec: spec_pb2.PipelineSpec
    directory: Path
    service: Service = Service.KUBEFLOW
    outputs: dict[str, dict[str, spec_pb2.ArtifactList]] = field(default_factory=dict)
    checked: dict[str, spec_pb2.ExecutorOutput] = field(default_factory=dict)
    numbers: count = field(default_factory=lambda: count(1))

    @property
    def root(self) -> str:
        """The pipeline root: what stands for `gs://bucket/root`."""
        return f"{self.directory}/bucket/root"

    def tasks(self) -> list[str]:
        """First to last."""
        tasks = self.spec.root.dag.tasks
        return in_order({name: sorted(task.dependent_tasks) for name, task in tasks.items()})

    def run(self, task: str, run: Run) -> None:
        """Runs one task whose producers have been run."""
        home = self.directory / "tasks" / task
        home.mkdir(parents=True)
        pod = _Pod(home / "pod")
        asked = self.executor_input(task, pod)
        container = self._container(task)
        environment = {one.name: one.value for one in container.env}
        text = json_format.MessageToJson(asked, indent=None)
        if self.service is Service.VERTEX and container.lifecycle.HasField("pre_cache_check"):
            check = container.lifecycle.pre_cache_check
            words = [*check.command, *check.args]
            run(Command(_resolve(words, text), environment), home / "log")
            self.checked[task] = _output(asked)
        words = [*container.command, *container.args]
        run(Command(_resolve(words, text), environment), home / "log")
        self.outputs[task] = self._named(_outputs_of(asked))
        pod.end()

    def executor_input(self, task: str, pod: "_Pod") -> spec_pb2.ExecutorInput:
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
                type=output.artifact_type,
                uri=f"{self._task_root(task)}/{name}",
                name=self._output_name(task, name),
            )
            artifact.metadata.CopyFrom(output.metadata)
        asked.outputs.output_file = self._output_file(task, pod)
        return asked

    def _task_root(self, task: str) -> str:
        if self.service is Service.VERTEX:
            return f"{self.root}/1/{RUN}/{task}_-7"
        return f"{self.root}/{self.spec.pipeline_info.name}/{RUN}/{task}/{SALT}"

    def _output_name(self, task: str, output: str) -> str:
        if self.service is Service.VERTEX:
            return f"projects/1/locations/l/metadataStores/d/artifacts/{task}-{output}"
        return output if self.service is Service.KUBEFLOW else ""

    def _output_file(self, task: str, pod: "_Pod") -> str:
        if self.service is Service.VERTEX:
            return f"{self._task_root(task)}/executor_output.json"
        if self.service is Service.KUBEFLOW:
            return pod.only_file(f"gcs{self._task_root(task)}/output_metadata.json")
        return pod.only_file("tmp/kfp_outputs/output_metadata.json")

    def _named(self, outputs: dict[str, spec_pb2.ArtifactList]) -> dict[str, spec_pb2.ArtifactList]:
        """Outputs as the tasks that read them get them."""
        if self.service is not Service.VERTEX:
            for list_ in outputs.values():
                list_.artifacts[0].name = str(next(self.numbers))
        return outputs

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


def _outputs_of(asked: spec_pb2.ExecutorInput) -> dict[str, spec_pb2.ArtifactList]:
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


class _Pod:
    """The files that a task's pod has for itself; no other pod sees them, nor a later one.

    A task is to leave nothing there but the file that says what it has made: not even its
    own retry would find it, and its workers, which are pods of their own, could not write it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: Path | None = None

    def only_file(self, path: str) -> str:
        """Makes a file the only thing that can be written, if this is not the superuser."""
        self._file = self._directory / path
        self._file.parent.mkdir(parents=True)
        self._file.write_text("{}")
        self._file.parent.chmod(0o555)
        return str(self._file)

    def end(self) -> None:
        """Removes all of it."""
        if self._file:
            left = [path for path in self._file.parent.iterdir() if path != self._file]
            assert not left, f"left in the pod: {left}"
            self._file.parent.chmod(0o755)
            shutil.rmtree(self._directory)
