"""Training nodes as custom jobs of Vertex AI, on machines of their own.

The service gives each replica `TF_CONFIG`, in which pool 0 is the chief, and starts a job
again as a whole when a worker is lost.
"""

from typing import Any

from tfx.extensions.google_cloud_ai_platform.constants import ENABLE_VERTEX_KEY, VERTEX_REGION_KEY
from tfx.extensions.google_cloud_ai_platform.trainer.component import Trainer
from tfx.extensions.google_cloud_ai_platform.trainer.executor import TRAINING_ARGS_KEY

from components.tuner.vertex import VertexTuner
from pipeline import node_args
from pipeline.cluster.target import require
from pipeline.cluster.vertex_settings import boot_disk, job_encryption, job_networks
from pipeline.config.cluster import Resources
from pipeline.config.schema import Config
from pipeline.training_nodes import TUNER, NodePlacement, workers_of
from trainer import LEGACY_KERAS
from trainer.process.tf_config import WORKER_GROUP


def place_as_job(config: Config, node: str) -> NodePlacement:
    """A node that runs as a custom job.

    Raises:
      ClusterError: without a project and a location.
    """
    require(config, "cluster.project", "cluster.location")
    args = {
        WORKER_GROUP: {"limits": node_args.limits(config)},
        # Without it TFX would submit a job to a service that was shut down.
        ENABLE_VERTEX_KEY: True,
        VERTEX_REGION_KEY: config.cluster.location,
        TRAINING_ARGS_KEY: {
            "project": config.cluster.project,
            "display_name": f"{config.name}-{node}".lower(),
            "job_spec": job_spec(config, node),
            **({"labels": config.cluster.labels} if config.cluster.labels else {}),
            **job_encryption(config),
        },
    }
    node_class = VertexTuner if node == TUNER else Trainer
    return NodePlacement(node, node_class, args, elsewhere=True)


def job_spec(config: Config, node: str) -> dict[str, Any]:
    """A CustomJobSpec, in the names of its proto; TFX adds each pool's command."""
    resources, workers = config.cluster.resources_of(node), workers_of(config, node)
    pools = [_pool(config, resources, 1)]
    if workers > 1:
        pools.append(_pool(config, resources, workers - 1))
    vertex = config.cluster.vertex
    spec: dict[str, Any] = {"worker_pool_specs": pools, **job_networks(config)}
    if config.cluster.service_account:
        spec["service_account"] = config.cluster.service_account
    if vertex.persistent_resource:
        spec["persistent_resource_id"] = vertex.persistent_resource
    # A lone worker that came back would wait for others that go on without it.
    scheduling: dict[str, Any] = {"restart_job_on_worker_restart": True}
    if resources.spot:
        scheduling["strategy"] = "SPOT"
    if vertex.timeout_secs:
        scheduling["timeout"] = f"{vertex.timeout_secs}s"
    return {**spec, "scheduling": scheduling}


def _pool(config: Config, resources: Resources, replicas: int) -> dict[str, Any]:
    machine: dict[str, Any] = {"machine_type": resources.machine_type}
    if resources.accelerator:
        machine["accelerator_type"] = resources.accelerator
        machine["accelerator_count"] = resources.accelerator_count or 1
    env = {**LEGACY_KERAS, **(resources.env or {})}
    return {
        "machine_spec": machine,
        "replica_count": replicas,
        "container_spec": {
            "image_uri": resources.image or config.cluster.image,
            "env": [{"name": name, "value": value} for name, value in sorted(env.items())],
        },
        **boot_disk(config),
    }
