"""What pods need and a pipeline spec has no fields for, as kfp-kubernetes writes it."""

import json
from collections.abc import Mapping

from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2 as pods_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from launchers.execution import SETTINGS_ANNOTATION, SETTINGS_VARIABLE
from launchers.kubernetes.settings import Toleration
from pipeline.cluster.containers import resources_here
from pipeline.cluster.store_access import StoreAccess, store_access
from pipeline.config.cluster import Resources
from pipeline.config.schema import Config
from pipeline.training_nodes import NodePlacement

_SHARED_MEMORY = "/dev/shm"


def platform_spec(
    spec: spec_pb2.PipelineSpec, config: Config, placements: Mapping[str, NodePlacement]
) -> spec_pb2.PlatformSpec:
    """The second document of a Kubeflow pipeline; empty where no node asks for anything."""
    platform = spec_pb2.PlatformSpec()
    for node, task in spec.root.dag.tasks.items():
        pod = pod_config(resources_here(config, node, placements), store_access(config))
        if node in placements and placements[node].uncached:
            _add_settings(placements[node].uncached, pod)
        if config.cluster.labels:
            pod.pod_metadata.labels.update(config.cluster.labels)
        if pod.ListFields():
            executor = spec.components[task.component_ref.name].executor_label
            executors = platform.platforms["kubernetes"].deployment_spec.executors
            executors[executor].update(json_format.MessageToDict(pod))
    return platform


def _add_settings(settings: Mapping[str, object], pod: pods_pb2.KubernetesExecutorConfig) -> None:
    """Gives a node's process settings without its arguments: in an annotation of its pod, from
    which Kubernetes fills a variable. No version's cache key has anything of the two.
    """
    pod.pod_metadata.annotations[SETTINGS_ANNOTATION] = json.dumps(settings, sort_keys=True)
    pod.field_path_as_env.add(
        name=SETTINGS_VARIABLE, field_path=f"metadata.annotations['{SETTINGS_ANNOTATION}']"
    )


def pod_config(resources: Resources, store: StoreAccess) -> pods_pb2.KubernetesExecutorConfig:
    """The part of a node's resources that a pod has beside its container's limits, and what it
    needs to reach the store.
    """
    pod = pods_pb2.KubernetesExecutorConfig()
    pod.node_selector.labels.update(resources.node_selector or {})
    if not resources.node_selector:
        pod.ClearField("node_selector")
    for toleration in _tolerations(resources):
        json_format.ParseDict(toleration.model_dump(exclude_none=True), pod.tolerations.add())
    for folder, name in sorted({**store.secrets, **(resources.secrets or {})}.items()):
        secret = pod.secret_as_volume.add(secret_name=name, mount_path=folder)
        # Older servers read `secret_name`, newer ones the parameter; kfp writes both.
        secret.secret_name_parameter.runtime_value.constant.string_value = name
    for folder, name in sorted({**store.claims, **(resources.claims or {})}.items()):
        claim = pod.pvc_mount.add(constant=name, mount_path=folder)
        claim.pvc_name_parameter.runtime_value.constant.string_value = name
    _add_secret_variables(store, pod)
    if store.group is not None:
        # kfp-kubernetes has no fsGroup; files are written as this group's.
        pod.security_context.run_as_group = store.group
    if resources.shared_memory:
        pod.empty_dir_mounts.add(
            volume_name="shm",
            mount_path=_SHARED_MEMORY,
            medium="Memory",
            size_limit=resources.shared_memory,
        )
    return pod


def _add_secret_variables(store: StoreAccess, pod: pods_pb2.KubernetesExecutorConfig) -> None:
    for variable, entry in sorted(store.secret_env.items()):
        secret = pod.secret_as_env.add(secret_name=entry.secret)
        secret.secret_name_parameter.runtime_value.constant.string_value = entry.secret
        secret.key_to_env.add(secret_key=entry.key, env_var=variable)


def _tolerations(resources: Resources) -> list[Toleration]:
    """The configured ones, and that of GPU nodes: clusters taint them with the resource's name."""
    tolerations = list(resources.tolerations or [])
    if resources.accelerator:
        gpu = Toleration(key=resources.accelerator, operator="Exists", effect="NoSchedule")
        tolerations += [gpu] if gpu not in tolerations else []
    return tolerations
