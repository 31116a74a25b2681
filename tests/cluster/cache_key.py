"""What the cache of Kubeflow Pipelines goes by, so that a test can say when a task runs again.

Everything that any version from 2.14 on puts into its key (`GenerateCacheKey` in
backend/src/v2/cacheutils/cache.go of kubeflow/pipelines): the parameters' values, the names of
the input artifacts, the declared outputs, the container's image, command and arguments; later
versions added the claims that its pod mounts, and its variables. Nothing else that stands in
the second document, of what pods need, is part of the key.
"""

from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from .specs import container_of, read_kubeflow


def cache_keys(text: str) -> dict[str, Any]:
    """By task that may be cached; input artifacts have no names yet: it takes their origins."""
    spec, platform = read_kubeflow(text)
    return {
        name: _cache_key(spec, platform, name)
        for name, task in spec.root.dag.tasks.items()
        if task.caching_options.enable_cache
    }


def _cache_key(
    spec: spec_pb2.PipelineSpec, platform: spec_pb2.PlatformSpec, task: str
) -> dict[str, Any]:
    component = spec.components[spec.root.dag.tasks[task].component_ref.name]
    container = container_of(spec, task)
    pods = platform.platforms["kubernetes"].deployment_spec.executors
    pod = pods.get(component.executor_label, {})
    claims = [claim["constant"] for claim in pod["pvcMount"]] if "pvcMount" in pod else []
    return {
        "inputs": json_format.MessageToDict(spec.root.dag.tasks[task].inputs),
        "outputs": json_format.MessageToDict(component.output_definitions),
        "image": container.image,
        "words": [*container.command, *container.args],
        "variables": [(one.name, one.value) for one in container.env],
        "claims": sorted(claims),
    }
