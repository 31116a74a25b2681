"""Reads compiled pipelines strictly: a key that the real protos do not know is an error."""

import json
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2


def read_kubeflow(text: str) -> tuple[spec_pb2.PipelineSpec, spec_pb2.PlatformSpec]:
    """The spec, and what pods need; the latter is empty where there is no second document."""
    documents = [*yaml.safe_load_all(text), {}]
    return (
        json_format.ParseDict(documents[0], spec_pb2.PipelineSpec()),
        json_format.ParseDict(documents[1], spec_pb2.PlatformSpec()),
    )


def read_vertex(text: str) -> tuple[spec_pb2.PipelineSpec, spec_pb2.PipelineJob]:
    job = json_format.Parse(text, spec_pb2.PipelineJob())
    spec = json_format.ParseDict(
        json_format.MessageToDict(job.pipeline_spec), spec_pb2.PipelineSpec()
    )
    return spec, job


def deployment_of(spec: spec_pb2.PipelineSpec) -> spec_pb2.PipelineDeploymentConfig:
    return json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec), spec_pb2.PipelineDeploymentConfig()
    )


def container_of(spec: spec_pb2.PipelineSpec, node: str) -> Any:
    label = spec.components[spec.root.dag.tasks[node].component_ref.name].executor_label
    return deployment_of(spec).executors[label].container


def custom_config(spec: spec_pb2.PipelineSpec, node: str) -> dict[str, Any]:
    """The settings of a training node, at either schema."""
    value = spec.root.dag.tasks[node].inputs.parameters["custom_config"].runtime_value
    return json.loads(value.constant.string_value or value.constant_value.string_value)


def group_of(
    spec: spec_pb2.PipelineSpec, platform: spec_pb2.PlatformSpec, node: str
) -> dict[str, Any]:
    """What a pod learns of its workers: from its arguments, and from its annotation."""
    group = custom_config(spec, node)["worker_group"]
    executors = platform.platforms["kubernetes"].deployment_spec.executors
    pod = json_format.MessageToDict(executors[f"{node}_executor"])
    (variable,) = pod["fieldPathAsEnv"]
    ((annotation, text),) = pod["podMetadata"]["annotations"].items()
    assert variable == {
        "name": "THAW_WORKER_GROUP",
        "fieldPath": f"metadata.annotations['{annotation}']",
    }
    more = json.loads(text)
    return {**group, **more, "launcher": {**group["launcher"], **more["launcher"]}}


def pod_environment(
    platform: spec_pb2.PlatformSpec, secrets: dict[str, dict[str, str]]
) -> dict[str, dict[str, str]]:
    """By task, the variables that Kubernetes fills from Secrets and from annotations."""
    found: dict[str, dict[str, str]] = {}
    for executor, struct in platform.platforms["kubernetes"].deployment_spec.executors.items():
        pod = json_format.MessageToDict(struct)
        variables = {
            entry["envVar"]: secrets[secret["secretName"]][entry["secretKey"]]
            for secret in pod.get("secretAsEnv", [])
            for entry in secret["keyToEnv"]
        }
        annotations = pod.get("podMetadata", {}).get("annotations", {})
        for field in pod.get("fieldPathAsEnv", []):
            name = field["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
            variables[field["name"]] = annotations[name]
        found[executor.removesuffix("_executor")] = variables
    return found
