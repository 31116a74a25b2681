"""Runs a compiled pipeline on this machine, as a pipeline service runs it on a cluster.

Walks the tasks of the spec in the order of their dependencies, gives each the executor
input that a service would make, runs its container's own command, and hands on what the
command says of its outputs.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.cluster.tasks import in_order

from .containers import Command
from .kfp_launcher import KfpLauncher, Pod
from .specs import deployment_of

PLACEHOLDER = "{{$}}"
RUN = "6c0d4a2e-run"

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
      directory: of this run: holds a folder for each task's log and its pods' own files.
      service: whose inputs the tasks get.
      root: the pipeline root; by default a folder that stands for `gs://bucket/root`.
      launcher: downloads and uploads around every task; None: the root is a folder, so that
        there is nothing to download or upload.
      environment: by task, what its pod gets beside its container's own variables.
      chosen: runtime parameters that the run was started with.
      job_parameters: Vertex AI: all of them, from the job.
      outputs: by task and output, as the tasks reported.
      parameters: likewise, those that are no artifacts.
      checked: by task, what its check reported.
    """

    spec: spec_pb2.PipelineSpec
    directory: Path
    service: Service = Service.KUBEFLOW
    root: str = ""
    launcher: KfpLauncher | None = None
    environment: dict[str, dict[str, str]] = field(default_factory=dict)
    chosen: dict[str, struct_pb2.Value] = field(default_factory=dict)
    job_parameters: dict[str, spec_pb2.Value] = field(default_factory=dict)
    outputs: dict[str, dict[str, spec_pb2.ArtifactList]] = field(default_factory=dict)
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    checked: dict[str, spec_pb2.ExecutorOutput] = field(default_factory=dict)
    numbers: count = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.root = self.root or f"{self.directory}/bucket/root"

    def tasks(self) -> list[str]:
        """First to last."""
        tasks = self.spec.root.dag.tasks
        return in_order({name: sorted(task.dependent_tasks) for name, task in tasks.items()})

    def run(self, task: str, run: Run) -> None:
        """Runs one task whose producers have been run; once more, if it has failed."""
        home = self.directory / "tasks" / task
        home.mkdir(parents=True, exist_ok=True)
        pod = Pod(home / "pod")
        asked = self.executor_input(task, pod)
        container = self._container(task)
        environment = {
            **{one.name: one.value for one in container.env},
            **self.environment.get(task, {}),
        }
        if self.launcher:
            self.launcher.before(task, asked, pod)
        if self.service is Service.VERTEX and container.lifecycle.HasField("pre_cache_check"):
            check = container.lifecycle.pre_cache_check
            words = [*check.command, *check.args]
            run(Command(self._resolve(words, asked, pod), environment), home / "log")
            self.checked[task] = _output(asked)
        words = [*container.command, *container.args]
        try:
            run(Command(self._resolve(words, asked, pod), environment), home / "log")
            if self.launcher:
                self.launcher.after(asked, pod)
            self.parameters[task] = dict(_output(asked).parameter_values)
            self.outputs[task] = self._named(_outputs_of(asked))
            if not self.launcher and self.service is not Service.VERTEX:
                _check_nothing_left(Path(asked.outputs.output_file))
        finally:
            pod.end()

    def _resolve(self, words: list[str], asked: spec_pb2.ExecutorInput, pod: Pod) -> list[str]:
        """Replaces placeholders wherever they stand, as the launcher does."""
        values = self.launcher.placeholders(asked, pod) if self.launcher else {}
        values[PLACEHOLDER] = json_format.MessageToJson(asked, indent=None)
        resolved = []
        for word in words:
            for placeholder, value in values.items():
                word = word.replace(placeholder, value)
            resolved.append(word)
        return resolved

    def executor_input(self, task: str, pod: Pod) -> spec_pb2.ExecutorInput:
        """What the service tells a task: parameters, artifacts, and where outputs go."""
        asked = spec_pb2.ExecutorInput()
        inputs = self.spec.root.dag.tasks[task].inputs
        for name, parameter in inputs.parameters.items():
            value = parameter.runtime_value
            if parameter.HasField("task_output_parameter"):
                produced = parameter.task_output_parameter
                given = self.parameters[produced.producer_task][produced.output_parameter_key]
                asked.inputs.parameter_values[name].CopyFrom(given)
            elif parameter.component_input_parameter:
                self._pass_on(asked, name, parameter.component_input_parameter)
            elif value.WhichOneof("value") == "constant":
                asked.inputs.parameter_values[name].CopyFrom(value.constant)
            else:
                asked.inputs.parameters[name].CopyFrom(value.constant_value)
        for name, artifact in inputs.artifacts.items():
            produced = artifact.task_output_artifact
            given = self.outputs[produced.producer_task][produced.output_artifact_key]
            asked.inputs.artifacts[name].CopyFrom(given)
        component = self.spec.components[self.spec.root.dag.tasks[task].component_ref.name]
        root = self._task_root(task)
        for name in component.output_definitions.parameters:
            asked.outputs.parameters[name].output_file = f"{pod.directory}/tmp/kfp/outputs/{name}"
        for name, output in component.output_definitions.artifacts.items():
            artifact = asked.outputs.artifacts[name].artifacts.add(
                type=output.artifact_type,
                uri=f"{root}/{name}",
                name=self._output_name(task, name),
            )
            artifact.metadata.CopyFrom(output.metadata)
        asked.outputs.output_file = self._output_file(root, pod)
        return asked

    def _pass_on(self, asked: spec_pb2.ExecutorInput, name: str, parameter: str) -> None:
        """Passes an input of the pipeline itself; where none was chosen, its default."""
        if self.service is Service.VERTEX:
            asked.inputs.parameters[name].CopyFrom(self.job_parameters[parameter])
            return
        default = self.spec.root.input_definitions.parameters[parameter].default_value
        asked.inputs.parameter_values[name].CopyFrom(self.chosen.get(parameter, default))

    def _task_root(self, task: str) -> str:
        if self.service is Service.VERTEX:
            return f"{self.root}/1/{RUN}/{task}_-7"
        return f"{self.root}/{self.spec.pipeline_info.name}/{RUN}/{task}/{uuid.uuid4()}"

    def _output_name(self, task: str, output: str) -> str:
        if self.service is Service.VERTEX:
            return f"projects/1/locations/l/metadataStores/d/artifacts/{task}-{output}"
        return output if self.service is Service.KUBEFLOW else ""

    def _output_file(self, root: str, pod: Pod) -> str:
        if self.service is Service.VERTEX:
            return f"{root}/executor_output.json"
        folder = pod.directory / "tmp" / "kfp_outputs"
        if self.service is Service.KUBEFLOW:
            folder = pod.local_path(root) if self.launcher else pod.directory / f"gcs{root}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "output_metadata.json"
        file.write_text("{}")
        if not self.launcher:
            folder.chmod(0o555)  # nothing else can be written there, if not by the superuser
        return str(file)

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


def _check_nothing_left(file: Path) -> None:
    """A task whose artifacts are not in its pod is to leave nothing there but its report: not
    even its own retry would find it, and its workers, which are other pods, could not write it.
    """
    left = [path for path in file.parent.iterdir() if path != file]
    assert not left, f"left in the pod: {left}"
    file.parent.chmod(0o755)
