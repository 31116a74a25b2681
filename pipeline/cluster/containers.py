"""What each container of a compiled pipeline gets: image, resources, retries, caching."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from kfp.compiler import compiler_utils
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.cluster.parameters import WITH_PARAMETERS
from pipeline.cluster.references import reads_launchers_copies, title_of
from pipeline.cluster.report_inputs import NODE as REPORT
from pipeline.cluster.store_access import store_access
from pipeline.cluster.target import Target
from pipeline.config.cluster import DEFAULT, Resources
from pipeline.config.schema import Config
from pipeline.training_nodes import NodePlacement
from trainer import LEGACY_KERAS
from trainer.store.uris import Kind

_TASK = ("python", "-m", "pipeline.cluster.task")
# Takes the place of TFX's, which does not notice an image that moves to another class.
_CACHE_CHECK = ("python", "-m", "components.image_example_gen.cache_check")
_ENTRY_POINT = ("python", "-m", "launchers.entry_point")
# Artifacts that the user interface of Kubeflow Pipelines shows.
_SHOWN = "system."


def apply_container_settings(
    spec: spec_pb2.PipelineSpec,
    config: Config,
    target: Target,
    placements: Mapping[str, NodePlacement],
) -> None:
    """Writes what the config says of containers and tasks into a compiled spec.

    TFX's compiler takes resources for some kinds of nodes only, and retries for none.

    Args:
      spec: as TFX compiles it; changed in place.
      config: section `cluster` is read.
      target: decides whether ImageExampleGen may be cached.
      placements: of the training nodes.
    """
    deployment = json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec), spec_pb2.PipelineDeploymentConfig()
    )
    for node, task in spec.root.dag.tasks.items():
        executor = spec.components[task.component_ref.name].executor_label
        container = deployment.executors[executor].container
        resources = resources_here(config, node, placements)
        container.image = resources.image or str(config.cluster.image)
        env = {**LEGACY_KERAS, **store_access(config).env, **(resources.env or {})}
        for name, value in sorted(env.items()):
            container.env.add(name=name, value=value)
        if container.lifecycle.HasField("pre_cache_check"):
            container.lifecycle.pre_cache_check.command[:] = _CACHE_CHECK
        if target is Target.KUBEFLOW:
            component = spec.components[task.component_ref.name]
            copies = reads_launchers_copies(config, node, placements)
            if node != REPORT:
                container.command[:] = _ENTRY_POINT
            container.args.extend(_local_paths(component, config, copies))
        if node in WITH_PARAMETERS:
            container.command[:] = _TASK
            container.args.extend(["--node", node])
        _set_resources(container, resources)
        _set_retries(task, config)
        # Kubeflow does not run the check for new images that Vertex AI does: a cached
        # ImageExampleGen would never see one.
        unseen = target is Target.KUBEFLOW and node == "ImageExampleGen"
        cached = config.cluster.caching and not unseen and node != REPORT
        task.caching_options.enable_cache = cached
    spec.deployment_spec.Clear()
    spec.deployment_spec.update(json_format.MessageToDict(deployment))


def _local_paths(component: spec_pb2.ComponentSpec, config: Config, copies: bool) -> list[str]:
    """Tells the entry point where the pipeline's launcher has put inputs and expects outputs.

    The launcher replaces the placeholders (`getPlaceholders` in
    backend/src/v2/component/launcher_v2.go).
    """
    mounted = config.cluster.store.kind == Kind.MOUNTED.value
    inputs = component.input_definitions.artifacts if copies else ()
    outputs = [
        name
        for name, definition in component.output_definitions.artifacts.items()
        # The interface reads the store itself, which has nothing of what is on the volume.
        if copies or (mounted and title_of(definition.artifact_type).startswith(_SHOWN))
    ]
    return [
        *(
            f"--local_input={name}={{{{$.inputs.artifacts['{name}'].path}}}}"
            for name in sorted(inputs)
        ),
        *(
            f"--local_output={name}={{{{$.outputs.artifacts['{name}'].path}}}}"
            for name in sorted(outputs)
        ),
    ]


def resources_here(config: Config, node: str, placements: Mapping[str, NodePlacement]) -> Resources:
    """What a node's own container gets: a node that only starts a job elsewhere and waits
    for it gets the default.
    """
    if node in placements and placements[node].elsewhere:
        return config.cluster.resources.get(DEFAULT, Resources())
    return config.cluster.resources_of(node)


def _set_resources(container: Any, resources: Resources) -> None:
    """Old and new fields both, as kfp's own compiler does: Vertex AI reads the old ones."""
    limits = container.resources
    if resources.cpu is not None:
        limits.cpu_limit = resources.cpu
        limits.resource_cpu_limit = f"{resources.cpu:g}"
    if resources.memory is not None:
        limits.memory_limit = compiler_utils._memory_to_float(resources.memory)
        limits.resource_memory_limit = resources.memory
    if resources.accelerator is not None:
        count = resources.accelerator_count or 1
        limits.accelerator.type = limits.accelerator.resource_type = resources.accelerator
        limits.accelerator.count = count
        limits.accelerator.resource_count = str(count)


def _set_retries(task: spec_pb2.PipelineTaskSpec, config: Config) -> None:
    if config.cluster.retries:
        task.retry_policy.max_retry_count = config.cluster.retries
        task.retry_policy.backoff_duration.FromSeconds(config.cluster.retry_wait_secs)
        task.retry_policy.backoff_factor = 2.0
        task.retry_policy.backoff_max_duration.FromSeconds(3600)
