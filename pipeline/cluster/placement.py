"""Decides where the training nodes run on a cluster.

How they run there is the affair of `launchers.kubernetes` and `pipeline.cluster.vertex_jobs`.
"""

from dataclasses import asdict, replace
from typing import Any

from launchers.registry import KUBERNETES
from pipeline.cluster import sizes
from pipeline.cluster.store_access import store_access
from pipeline.cluster.target import ClusterError, Target
from pipeline.config.cluster import TRAINING_NODES, Resources
from pipeline.config.schema import Config
from pipeline.training_nodes import NodePlacement, launched_placement, workers_of
from trainer.process.tf_config import WORKER_GROUP

# Settings of the launcher that a node's result may depend on.
_KEYED = {"kind", "image", "env", "claims", "gpus", "gpu_resource"}


def place_training_nodes(target: Target, config: Config) -> dict[str, NodePlacement]:
    """The placement of each training node.

    Raises:
      ClusterError: if the config leaves out what a placement needs.
    """
    place = _on_vertex if target is Target.VERTEX else _on_kubeflow
    return {node: place(config, node) for node in TRAINING_NODES}


def _on_kubeflow(config: Config, node: str) -> NodePlacement:
    """A job of its own where there are several workers or the config asks for a launcher;
    else the node's own pod.
    """
    if workers_of(config, node) == 1 and not config.cluster.launcher.chosen():
        return launched_placement(config, node, None)
    return _with_smaller_key(launched_placement(config, node, launcher_settings(config, node)))


def _with_smaller_key(placement: NodePlacement) -> NodePlacement:
    """Moves out of a node's arguments what its result does not depend on.

    Kubeflow Pipelines' cache goes by all arguments. Of what it knows of a pod it takes image,
    environment and claims only; so does this, and the number of GPUs, over which sums are split.
    """
    group = placement.config[WORKER_GROUP]
    keyed = {key: value for key, value in group["launcher"].items() if key in _KEYED}
    others = {key: value for key, value in group["launcher"].items() if key not in _KEYED}
    smaller = {"name": group["name"], "workers": group["workers"], "launcher": keyed}
    uncached = {"launcher": others, "limits": group["limits"]}
    return replace(placement, config={WORKER_GROUP: smaller}, uncached=uncached)


def launcher_settings(config: Config, node: str) -> dict[str, Any]:
    """For `launchers.kubernetes.launcher`: what the node gets, and `cluster.launcher` over it."""
    resources = config.cluster.resources_of(node)
    settings = {
        "image": resources.image or config.cluster.image,
        "service_account": config.cluster.service_account,
        "cpu": None if resources.cpu is None else f"{resources.cpu:g}",
        "memory": resources.memory,
        **_gpus(resources),
        "node_selector": resources.node_selector,
        "tolerations": [
            toleration.model_dump(exclude_none=True) for toleration in resources.tolerations or []
        ],
        "env": resources.env,
        "claims": resources.claims,
        "secrets": resources.secrets,
        "shared_memory": resources.shared_memory,
    }
    settings = {name: value for name, value in settings.items() if value}
    # Also those that are 0, off or empty: they differ from the defaults.
    chosen = config.cluster.launcher.chosen()
    labels = {**config.cluster.labels, **config.cluster.launcher.labels}
    chosen = {**chosen, **({"labels": labels} if labels else {})}
    return {"kind": KUBERNETES, **_with_store({**settings, **chosen}, config, node)}


def _with_store(settings: dict[str, Any], config: Config, node: str) -> dict[str, Any]:
    """Adds what the workers' pods need to reach the store, under what the config says of pods."""
    store = store_access(config)
    added = {
        "env": {**store.env, **settings.get("env", {})},
        "claims": {**store.claims, **settings.get("claims", {})},
        "secrets": {**store.secrets, **settings.get("secrets", {})},
        "secret_env": {
            **{name: asdict(entry) for name, entry in store.secret_env.items()},
            **settings.get("secret_env", {}),
        },
        "disk": settings.get("disk") or _disk(config, node),
    }
    group = settings.get("fs_group", store.group)
    return {
        **settings,
        **{name: value for name, value in added.items() if value},
        **({} if group is None else {"fs_group": group}),
    }


def _disk(config: Config, node: str) -> str | None:
    """What a worker requests for its local copies and vectors, where the images are counted."""
    if not config.cluster.num_images:
        return None
    return sizes.whole_gibibytes(sizes.disk_bytes(config, node, config.cluster.num_images))


def _gpus(resources: Resources) -> dict[str, str | int]:
    if resources.accelerator is None:
        return {}
    return {"gpus": resources.accelerator_count or 1, "gpu_resource": resources.accelerator}


def _on_vertex(config: Config, node: str) -> NodePlacement:
    """A machine of its own where the config names one; several workers need it."""
    if config.cluster.resources_of(node).machine_type:
        # Late: it brings Google's client, which takes seconds.
        from pipeline.cluster import vertex_jobs

        return vertex_jobs.place_as_job(config, node)
    if workers_of(config, node) > 1:
        raise ClusterError(
            f"cluster.resources.{node}.machine_type: must be set on Vertex AI, since "
            f"train.workers is {config.train.workers}: such as n1-standard-8. "
            "In cluster.resources.default it is for all training nodes."
        )
    return launched_placement(config, node, None)
