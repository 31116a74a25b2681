"""What the Kubernetes launcher is told: where a worker group's pods run and what each gets.

The settings arrive as a plain dict (`custom_config["worker_group"]["launcher"]`, kind
"kubernetes") and are checked here; the fields below are all the keys there are.
"""

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)


class Part(BaseModel):
    """Unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Toleration(Part):
    """A taint that the workers accept; the fields are those of a pod's own toleration."""

    key: str | None = Field(None, description="Unset, with operator Exists: every taint.")
    operator: Literal["Equal", "Exists"] = Field("Equal", description="How value is compared.")
    value: str | None = Field(None, description="Of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Unset: all effects."
    )
    tolerationSeconds: int | None = Field(  # noqa: N815 - as in a pod
        None, description="How long a NoExecute taint is accepted."
    )


class KubernetesSettings(Part):
    """Where a worker group runs and what each of its pods gets.

    `WorkerGroup.limits` says how long it may take and how often it starts again.
    """

    image: str = Field(min_length=1, description="Container image that holds this project.")
    workload: Literal["job", "jobset"] = Field(
        "job",
        description=(
            "job: an Indexed Job and a headless Service, which every cluster has. jobset: one "
            "JobSet, where its controller is installed."
        ),
    )
    namespace: str | None = Field(
        None,
        min_length=1,
        description="Of the workers. Unset: the launching pod's own, or the kubeconfig's.",
    )
    service_account: str | None = Field(
        None,
        min_length=1,
        description="Of the workers. They never call Kubernetes; storage may know them by it.",
    )
    cpu: str | None = Field(None, min_length=1, description="Of each worker, such as 4 or 500m.")
    cpu_limit: str | None = Field(
        None,
        min_length=1,
        description=(
            "CPU limit of each worker, for namespaces whose quota requires one. Unset: no limit, "
            "so that a worker may use its node's idle cores."
        ),
    )
    memory: str | None = Field(None, min_length=1, description="Of each worker, such as 16Gi.")
    gpus: NonNegativeInt = Field(0, description="Of each worker.")
    gpu_resource: str = Field("nvidia.com/gpu", description="What the device plug-in calls a GPU.")
    shared_memory: str | None = Field(
        None,
        min_length=1,
        description="Size of /dev/shm, which NCCL needs between GPUs. Unset: as much as it takes.",
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict,
        description="Labels a node must have, such as cloud.google.com/gke-accelerator: nvidia-l4.",
    )
    tolerations: list[Toleration] = Field(
        default_factory=list,
        description="Taints the workers accept, besides those of GPU and spot nodes.",
    )
    spot: Literal["gke", "eks", "karpenter", "aks"] | None = Field(
        None, description="Run on spot nodes, as they are marked on this kind of cluster."
    )
    env: dict[str, str] = Field(default_factory=dict, description="Environment of the workers.")
    claims: dict[str, str] = Field(
        default_factory=dict,
        description="PersistentVolumeClaims by the path where they are mounted.",
    )
    secrets: dict[str, str] = Field(
        default_factory=dict, description="Secrets by the path where they are mounted, read-only."
    )
    image_pull_secrets: list[str] = Field(
        default_factory=list, description="Secrets that open the image's registry."
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="More labels of job and pods, such as kueue.x-k8s.io/queue-name.",
    )
    annotations: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "Additional annotations of the job and its pods. Pods opt out of the sidecars of Istio "
            "and Linkerd unless labels or annotations set sidecar.istio.io/inject or "
            "linkerd.io/inject."
        ),
    )
    priority_class: str | None = Field(None, min_length=1, description="Of the pods.")
    port: PositiveInt = Field(
        2222, ge=1024, le=65535, description="That TensorFlow's servers listen at, in every pod."
    )
    pending_secs: PositiveFloat = Field(
        1800,
        description=(
            "How long a worker may wait for its pod to be created, for a node, its image and its "
            "volumes. Time in which the job is suspended does not count."
        ),
    )
    deadline_secs: PositiveFloat = Field(
        7 * 86400,
        description=(
            "Kubernetes ends the workers after so long, restarts included, even if the launcher is "
            "gone. A deadline of the worker group's own goes before it."
        ),
    )
    grace_secs: PositiveInt = Field(
        60, description="Between SIGTERM and SIGKILL: a worker saves what it has done."
    )
    keep_secs: NonNegativeInt = Field(
        86400, description="How long a job that ended well is kept for its logs."
    )
    api_retry_secs: PositiveFloat = Field(
        300, description="How long the API server may be out of reach before the launcher gives up."
    )
    kubeconfig: str | None = Field(
        None, description="File, for a launcher outside the cluster. Unset: $KUBECONFIG."
    )
    context: str | None = Field(None, description="Of the kubeconfig.")


def read_settings(told: dict[str, Any]) -> KubernetesSettings:
    """Checks the settings.

    Raises:
      ValueError: naming each key that is missing, unknown or wrong.
    """
    try:
        return KubernetesSettings(**told)
    except ValidationError as error:
        wrong = "\n".join(
            f"  {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        )
        known = ", ".join(KubernetesSettings.model_fields)
        raise ValueError(
            f"The Kubernetes launcher's settings are not right:\n{wrong}\n  The keys are: {known}."
        ) from error
