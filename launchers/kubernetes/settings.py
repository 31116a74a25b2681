"""The settings of the Kubernetes launcher: where a worker group's pods run and what each gets.

They reach the launcher as plain values (`custom_config["worker_group"]["launcher"]`, kind
"kubernetes"). The config's section `cluster.launcher` is made from the same fields, so this
module stays light to import.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from launchers import settings
from launchers.settings import Settings

_DAY_SECS = 86_400
_MAX_SECS = 366 * _DAY_SECS

_IMAGE = "Container image that holds this project."
_GPUS = "Number of GPUs of each worker."
_GPU_RESOURCE = "Resource name that the device plug-in gives to a GPU."

Text = Annotated[str, Field(min_length=1)]
IfNotSpread = Literal["ScheduleAnyway", "DoNotSchedule"]
Secs = Annotated[float, Field(gt=0, le=_MAX_SECS)]


class Toleration(Settings):
    """A taint that pods tolerate; the fields are those of a pod's toleration."""

    key: str | None = Field(
        None, description="Key of the taint. Unset, with operator Exists: every taint."
    )
    operator: Literal["Equal", "Exists"] = Field(
        "Equal", description="Equal: the taint's value must match. Exists: any value does."
    )
    value: str | None = Field(None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint. Unset: all effects."
    )
    tolerationSeconds: int | None = Field(  # noqa: N815 - as in a pod
        None, le=_MAX_SECS, description="Seconds for which a NoExecute taint is tolerated."
    )


class SecretEntry(Settings):
    """One entry of a Secret."""

    secret: Text = Field(description="Name of the Secret.")
    key: Text = Field(description="Name of the entry.")


class WorkerPods(Settings):
    """How the workers of a training node run on Kubernetes.

    `WorkerGroup.limits` says how long they may take and how often they start again.
    """

    image: Text | None = Field(None, description=_IMAGE)
    workload: Literal["job", "jobset"] = Field(
        "job",
        description=(
            "job: an Indexed Job and a headless Service, which every cluster has. jobset: one "
            "JobSet, where its controller is installed."
        ),
    )
    namespace: Text | None = Field(
        None,
        description=(
            "Namespace of the workers. Unset: the launching pod's own, or the kubeconfig's."
        ),
    )
    service_account: Text | None = Field(
        None,
        description=(
            "Service account of the workers. They never call Kubernetes; storage may "
            "authenticate them by it."
        ),
    )
    cpu: Text | None = Field(None, description="CPU request of each worker, such as 4 or 500m.")
    cpu_limit: Text | None = Field(
        None,
        description=(
            "CPU limit of each worker, for namespaces whose quota requires one. Unset: no limit, "
            "so that a worker may use its node's idle cores."
        ),
    )
    memory: Text | None = Field(
        None, description="Memory request and limit of each worker, such as 16Gi."
    )
    gpus: NonNegativeInt | None = Field(None, le=1000, description=_GPUS)
    gpu_resource: Text | None = Field(None, description=_GPU_RESOURCE)
    shared_memory: Text | None = Field(
        None,
        description="Size of /dev/shm, which NCCL needs between GPUs. Unset: as much as it takes.",
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict,
        description="Labels a node must have, such as cloud.google.com/gke-accelerator: nvidia-l4.",
    )
    tolerations: list[Toleration] = Field(
        default_factory=list,
        description=(
            "Kubernetes tolerations: taints the pods may be scheduled on, besides those of GPU "
            "and spot nodes."
        ),
    )
    spot: Literal["gke", "eks", "karpenter", "aks"] | None = Field(
        None, description="Run on spot nodes, as they are labelled on this kind of cluster."
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="Environment variables of the workers."
    )
    claims: dict[str, str] = Field(
        default_factory=dict,
        description="PersistentVolumeClaims by the path where they are mounted.",
    )
    secrets: dict[str, str] = Field(
        default_factory=dict, description="Secrets by the path where they are mounted, read-only."
    )
    secret_env: dict[str, SecretEntry] = Field(
        default_factory=dict,
        description="Environment variables of the workers that are filled from a Secret.",
    )
    fs_group: NonNegativeInt | None = Field(
        None, description="Id of the group that the pods' volumes belong to (fsGroup)."
    )
    disk: Text | None = Field(
        None,
        description=(
            "Local disk of each worker, such as 200Gi: request and limit of ephemeral storage."
        ),
    )
    image_pull_secrets: list[str] = Field(
        default_factory=list, description="Secrets that authenticate to the image's registry."
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "Additional labels of the job and its pods, such as kueue.x-k8s.io/queue-name."
        ),
    )
    annotations: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "Additional annotations of the job and its pods. Pods opt out of the sidecars of Istio "
            "and Linkerd unless labels or annotations set sidecar.istio.io/inject or "
            "linkerd.io/inject."
        ),
    )
    priority_class: Text | None = Field(None, description="Priority class of the pods.")
    runtime_class: Text | None = Field(
        None,
        description=(
            "Runtime class of the pods, where GPUs or a sandbox need one, such as nvidia or gvisor."
        ),
    )
    topology_spread: dict[str, IfNotSpread] = Field(
        {"kubernetes.io/hostname": "ScheduleAnyway"},
        description=(
            "Node labels over whose values the workers of a job are spread evenly, and what "
            "happens where that is impossible. By default each gets a node of its own if there "
            "are enough. {}: the scheduler's own defaults."
        ),
    )
    writable_dirs: list[Text] = Field(
        default_factory=list,
        description=(
            "Folders that are empty and writable in every pod, besides /tmp, /home/thaw and "
            "/dev/shm. The rest of the image is read-only."
        ),
    )
    network_policy: bool = Field(
        True,
        strict=True,
        description=(
            "Create a NetworkPolicy with each job, so that only its own workers can connect to "
            "its workers. Needs a network plug-in that enforces policies."
        ),
    )
    port: PositiveInt = Field(
        2222, ge=1024, le=65535, description="Port of TensorFlow's server in every pod."
    )
    pending_secs: Secs = Field(
        1800,
        description=(
            "Seconds a worker may wait for its pod to be created, for a node, its image and its "
            "volumes. Time in which the job is suspended does not count."
        ),
    )
    deadline_secs: Secs = Field(
        7 * _DAY_SECS,
        description=(
            "Seconds after which Kubernetes ends the workers, restarts included, even if the "
            "launcher is gone. A deadline of the worker group takes precedence."
        ),
    )
    grace_secs: PositiveInt = Field(
        60,
        le=_DAY_SECS,
        description="Seconds between SIGTERM and SIGKILL, in which a worker saves its progress.",
    )
    keep_secs: NonNegativeInt = Field(
        _DAY_SECS,
        le=_MAX_SECS,
        description="Seconds for which a job that succeeded is kept for its logs.",
    )
    api_retry_secs: Secs = Field(
        300,
        description="Seconds the API server may be unreachable before the launcher gives up.",
    )
    kubeconfig: str | None = Field(
        None,
        description="Kubeconfig of a launcher outside the cluster. Unset: $KUBECONFIG.",
    )
    context: str | None = Field(None, description="Context of the kubeconfig to use.")


class KubernetesSettings(WorkerPods):
    """The same, complete."""

    image: Text = Field(description=_IMAGE)
    gpus: NonNegativeInt = Field(0, le=1000, description=_GPUS)
    gpu_resource: Text = Field("nvidia.com/gpu", description=_GPU_RESOURCE)
    kind: Literal["kubernetes"] = Field("kubernetes", description="Says which settings these are.")


def read_settings(values: Mapping[str, object]) -> KubernetesSettings:
    """Checks the settings.

    Raises:
      ThawError: naming each key that is missing, unknown or wrong.
    """
    return settings.read(KubernetesSettings, values)
