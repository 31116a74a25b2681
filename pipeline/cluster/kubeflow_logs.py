"""Where Kubeflow Pipelines keeps the log of a task.

Version 2 of its API has none. The API server serves one beside it (`ReadRunLogV1`,
backend/src/apiserver/server/run_log_server.go, routed in main.go up to 2.17): the container
`main` of a pod of the run, or else what Argo archived of it. The server of the user interface
does not pass that path on and has one of its own (frontend/server/handlers/pod-logs.ts). Which
of the two `cluster.host` is, is found by asking.

Both ask for a pod, and the API does not say which pods a task has had: the details of a task
hold Argo's identifier of its node `executor` (`NodeStatuses`, backend/src/common/util/workflow.go).
A pod's name is made of that, of its template and of its attempt, all of which are known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.cluster.tasks import pipeline_spec

_TEMPLATE = "system-container-impl"


@dataclass(frozen=True)
class LogSource:
    """One address of the log of one pod."""

    path: str
    query: tuple[tuple[str, str], ...] = ()


def log_sources(
    run_id: str, node_id: str, task: str, document: Mapping[str, Any], namespace: str | None
) -> Iterator[LogSource]:
    """The addresses at which a task's log can be, the last attempt first.

    Args:
      run_id: of the run.
      node_id: Argo's identifier of the task's executor, WORKFLOW-HASH.
      task: its name.
      document: what the service stores of the pipeline: PipelineSpec and PlatformSpec.
      namespace: of the run's pods; None: that of the installation.
    """
    for pod in pod_names(node_id, task, document):
        yield LogSource(f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log")
        query = [("podname", pod), ("runid", run_id)]
        query += [("podnamespace", namespace)] if namespace else []
        yield LogSource("/k8s/pod/logs", tuple(query))


def pod_names(node_id: str, task: str, document: Mapping[str, Any]) -> Iterator[str]:
    """The names that the pods of a task can have, the last attempt first.

    The templates are those of `addContainerExecutorTemplate`
    (backend/src/v2/compiler/argocompiler/container.go): versions since 2.15 write the number of
    annotations and labels into a template's name, and a task with retries has one of its own.
    """
    workflow, _, executor = node_id.rpartition("-")
    spec = pipeline_spec(document)
    attempts = int(
        spec["root"]["dag"]["tasks"][task].get("retryPolicy", {}).get("maxRetryCount", 0)
    )
    counted = _with_metadata(task, spec, document)
    for attempt in reversed(range(attempts + 1 if attempts else 0)):
        number = _hash(f"{workflow}.root.{task}.executor({attempt})")
        for prefix in (counted, "") if counted else ("",):
            yield f"{workflow}-{prefix}retry-{_TEMPLATE}-{number}"
    if not attempts:
        for prefix in (counted, "") if counted else ("",):
            yield f"{workflow}-{prefix}{_TEMPLATE}-{executor}"
    yield node_id  # the name of an archived log, and of a pod before Argo 3.4


def _with_metadata(task: str, spec: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """What the template of a pod with annotations or labels has before its name."""
    component = spec["root"]["dag"]["tasks"][task]["componentRef"]["name"]
    executor = spec["components"][component]["executorLabel"]
    platforms = document.get("platform_spec", {}).get("platforms", {})
    executors = platforms.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    metadata = executors.get(executor, {}).get("podMetadata")
    if metadata is None:
        return ""
    return f"metadata-{len(metadata.get('annotations', {}))}-{len(metadata.get('labels', {}))}-"


def _hash(name: str) -> int:
    """FNV-1a of 32 bits, by which Argo names its nodes (`NodeID` in its workflow types)."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value
