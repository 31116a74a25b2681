"""What the launcher asks Kubernetes for: a Job with its Service, or a JobSet.

Pure functions from a worker group and settings to the objects, as plain dicts.

A worker group lives and dies as a whole: a TensorFlow worker that lost a peer cannot go on, nor can
a new peer join. So nothing here starts a single pod again: `backoffLimit: 0` ends the
job with the first pod that fails, whatever the cause, and a lost node counts as a failure.
The launcher then decides, knowing exit code and log, whether another attempt makes sense.
A podFailurePolicy or a JobSet's own restarts could not tell a lost peer from a wrong label.
Each attempt has a name of its own, so that no worker meets a pod of the attempt before.
"""

import hashlib
import json
import math

from launchers.kubernetes import indexed_job
from launchers.kubernetes.manifest import Manifest
from launchers.kubernetes.settings import KubernetesSettings, Toleration
from launchers.worker_group import WorkerGroup

GROUP_LABEL = "thaw-worker-group"
ATTEMPT_LABEL = "thaw-attempt"
REQUEST_ANNOTATION = "thaw-request"
FIRST_START_ANNOTATION = "thaw-first-start"
"""When the group's first attempt began, in seconds since 1970: its deadline counts from there."""
COMPONENT_LABELS = {
    "app.kubernetes.io/name": "thaw",
    # The NetworkPolicy of kubeflow/manifests chooses by this one.
    "app.kubernetes.io/component": "worker",
}
# A sidecar outlives the worker, so its pod and its job would never end. Istio prefers the
# label, and older releases read only the annotation. Its ambient mode would move all traffic to
# one port of its own, past the ports of a NetworkPolicy.
_NO_SIDECAR_LABELS = {"sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none"}
_NO_SIDECAR_ANNOTATIONS = {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}
CONTAINER = "worker"
JOBSET_API = "jobset.x-k8s.io/v1alpha2"
HOME = "/home/thaw"
"""Home of the image's user. Keras, Matplotlib and CUDA keep caches there."""
_WRITABLE_DIRS = ("/tmp", HOME)

_DISK = "ephemeral-storage"
_REPLICATED_JOB = "w"
_MAX_LABEL = 63
# What a JobSet's controller appends in the name of a pod; a Job's appends less.
_MAX_JOB_NAME = _MAX_LABEL - len(f"-{_REPLICATED_JOB}-0-9999-abcde")

# Says nothing of what the pods do.
_HOW_IT_IS_WATCHED = {
    "api_retry_secs",
    "pending_secs",
    "deadline_secs",
    "keep_secs",
    "kubeconfig",
    "context",
}

_SPOT: dict[str, tuple[dict[str, str], list[Toleration]]] = {
    "gke": (
        {"cloud.google.com/gke-spot": "true"},
        [Toleration(key="cloud.google.com/gke-spot", value="true", effect="NoSchedule")],
    ),
    "eks": ({"eks.amazonaws.com/capacityType": "SPOT"}, []),
    "karpenter": ({"karpenter.sh/capacity-type": "spot"}, []),
    "aks": (
        {"kubernetes.azure.com/scalesetpriority": "spot"},
        [Toleration(key="kubernetes.azure.com/scalesetpriority", value="spot")],
    ),
}


def workload(
    group: WorkerGroup, settings: KubernetesSettings, attempt: int, first_start: float, now: float
) -> Manifest:
    """The Job or JobSet of one attempt.

    Args:
      group: what runs.
      settings: where, and with what.
      attempt: 0 for the first.
      first_start: of attempt 0, in seconds since 1970.
      now: likewise. What is left of the worker group's deadline is the job's: Kubernetes ends it
        even if the launcher is gone.
    """
    name = attempt_name(group, attempt)
    jobset = settings.workload == "jobset"
    metadata = {
        "name": name,
        "labels": _labels(group, settings, attempt),
        "annotations": {
            **settings.annotations,
            REQUEST_ANNOTATION: fingerprint(group, settings),
            FIRST_START_ANNOTATION: str(int(first_start)),
        },
    }
    spec = _job_spec(group, settings, attempt, child_job_name(name) if jobset else name)
    if group.limits.deadline_secs:
        left = first_start + group.limits.deadline_secs - now
        spec["activeDeadlineSeconds"] = max(1, math.ceil(left))
    if jobset:
        return _jobset(metadata, spec, settings.keep_secs)
    spec["ttlSecondsAfterFinished"] = settings.keep_secs
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _jobset(metadata: Manifest, spec: Manifest, keep_secs: int) -> Manifest:
    return {
        "apiVersion": JOBSET_API,
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            "replicatedJobs": [
                {"name": _REPLICATED_JOB, "replicas": 1, "template": {"spec": spec}}
            ],
            # Its controller makes the headless Service.
            "network": {
                "enableDNSHostnames": True,
                "subdomain": metadata["name"],
                "publishNotReadyAddresses": True,
            },
            "failurePolicy": {"maxRestarts": 0},
            "ttlSecondsAfterFinished": keep_secs,
        },
    }


def attempt_name(group: WorkerGroup, attempt: int) -> str:
    """Of the Job or JobSet. Long names are cut and made unique again by a hash."""
    suffix = f"-{attempt}"
    room = _MAX_JOB_NAME - len(suffix)
    name = group.name
    if len(name) > room:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name[: room - 9].rstrip('-')}-{digest}"
    return name + suffix


def child_job_name(jobset: str) -> str:
    """The name that a JobSet's controller gives to its only Job."""
    return f"{jobset}-{_REPLICATED_JOB}-0"


def selector(group: WorkerGroup, attempt: int | None = None) -> str:
    """Label selector of a worker group's objects, or of one attempt's."""
    of_group = f"{GROUP_LABEL}={_group_label(group)}"
    return of_group if attempt is None else f"{of_group},{ATTEMPT_LABEL}={attempt}"


def fingerprint(group: WorkerGroup, settings: KubernetesSettings) -> str:
    """Says whether two jobs of one name do the same: same request, same workers, same pods."""
    content = {
        "request": group.request_uri,
        "workers": group.num_workers,
        "settings": settings.model_dump(exclude=_HOW_IT_IS_WATCHED, exclude_defaults=True),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _labels(group: WorkerGroup, settings: KubernetesSettings, attempt: int) -> dict[str, str]:
    return {
        **settings.labels,
        **COMPONENT_LABELS,
        GROUP_LABEL: _group_label(group),
        ATTEMPT_LABEL: str(attempt),
    }


def _group_label(group: WorkerGroup) -> str:
    return attempt_name(group, 0).removesuffix("-0")


def _job_spec(
    group: WorkerGroup, settings: KubernetesSettings, attempt: int, hosts: str
) -> Manifest:
    return {
        "completionMode": "Indexed",
        "completions": group.num_workers,
        "parallelism": group.num_workers,
        "backoffLimit": 0,
        "template": {
            "metadata": _pod_metadata(group, settings, attempt),
            "spec": _pod_spec(group, settings, attempt, hosts),
        },
    }


def _pod_metadata(group: WorkerGroup, settings: KubernetesSettings, attempt: int) -> Manifest:
    """What the config says of sidecars goes over the defaults, be it a label or an annotation."""
    chosen = {**settings.labels, **settings.annotations}
    labels = {key: value for key, value in _NO_SIDECAR_LABELS.items() if key not in chosen}
    annotations = {
        key: value for key, value in _NO_SIDECAR_ANNOTATIONS.items() if key not in chosen
    }
    return _without_empty(
        {
            "labels": {**labels, **_labels(group, settings, attempt)},
            "annotations": {**annotations, **settings.annotations},
        }
    )


def _pod_spec(
    group: WorkerGroup, settings: KubernetesSettings, attempt: int, hosts: str
) -> Manifest:
    subdomain = attempt_name(group, attempt)
    volumes, mounts = _volumes(settings)
    spot_selector, _ = _SPOT.get(settings.spot or "", ({}, []))
    spec = {
        "restartPolicy": "Never",
        "subdomain": subdomain,
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": settings.grace_secs,
        "priorityClassName": settings.priority_class,
        "runtimeClassName": settings.runtime_class,
        "topologySpreadConstraints": _topology_spread(group, settings, attempt),
        "nodeSelector": {**spot_selector, **settings.node_selector},
        "tolerations": _tolerations(settings),
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
        "securityContext": _without_empty(
            {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
                "fsGroup": settings.fs_group,
            }
        ),
        "volumes": volumes,
        "containers": [_container(group, settings, subdomain, hosts, mounts)],
    }
    return _without_empty(spec)


def _container(
    group: WorkerGroup,
    settings: KubernetesSettings,
    subdomain: str,
    hosts: str,
    mounts: list[Manifest],
) -> Manifest:
    environment = {
        "HOME": HOME,  # another image's may be read-only
        **settings.env,
        **indexed_job.variables(group.num_workers, hosts, subdomain, settings.port),
    }
    container = {
        "name": CONTAINER,
        "image": settings.image,
        "command": ["python", "-m", "launchers.worker", group.request_uri],
        "env": [
            *({"name": name, "value": value} for name, value in sorted(environment.items())),
            *_secret_variables(settings),
        ],
        "ports": [{"name": "tensorflow", "containerPort": settings.port}],
        "resources": _resources(settings),
        # Where a pod leaves no message, its last lines serve.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    return _without_empty(container)


def _secret_variables(settings: KubernetesSettings) -> list[Manifest]:
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": entry.secret, "key": entry.key}}}
        for name, entry in sorted(settings.secret_env.items())
    ]


def _resources(settings: KubernetesSettings) -> Manifest:
    requests = {"cpu": settings.cpu, "memory": settings.memory, _DISK: settings.disk}
    # Memory is no more than asked for: a pod that takes more is ended, not its neighbours.
    # CPU is left to burst unless a limit is set. GPUs must be asked for as a limit.
    limits: dict[str, str | None] = {
        "cpu": settings.cpu_limit,
        "memory": settings.memory,
        _DISK: settings.disk,
    }
    if settings.gpus:
        limits[settings.gpu_resource] = str(settings.gpus)
    return _without_empty({"requests": _without_empty(requests), "limits": _without_empty(limits)})


def _tolerations(settings: KubernetesSettings) -> list[Manifest]:
    _, tolerations = _SPOT.get(settings.spot or "", ({}, []))
    if settings.gpus:
        gpu = Toleration(key=settings.gpu_resource, operator="Exists", effect="NoSchedule")
        tolerations = [*tolerations, gpu]
    return [one.model_dump(exclude_none=True) for one in [*tolerations, *settings.tolerations]]


def _topology_spread(
    group: WorkerGroup, settings: KubernetesSettings, attempt: int
) -> list[Manifest]:
    labels = {GROUP_LABEL: _group_label(group), ATTEMPT_LABEL: str(attempt)}
    return [
        {
            "topologyKey": key,
            "maxSkew": 1,
            "whenUnsatisfiable": otherwise,
            "labelSelector": {"matchLabels": labels},
        }
        for key, otherwise in sorted(settings.topology_spread.items())
    ]


def _volumes(settings: KubernetesSettings) -> tuple[list[Manifest], list[Manifest]]:
    volumes: list[Manifest] = []
    mounts: list[Manifest] = []
    for number, (path, claim) in enumerate(sorted(settings.claims.items())):
        name = f"claim-{number}"
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": name, "mountPath": path})
    for number, (path, secret) in enumerate(sorted(settings.secrets.items())):
        name = f"secret-{number}"
        volumes.append({"name": name, "secret": {"secretName": secret}})
        mounts.append({"name": name, "mountPath": path, "readOnly": True})
    if settings.gpus > 1 or settings.shared_memory:
        # The default of 64 MB is too little for NCCL between the GPUs of a pod.
        room = _without_empty({"medium": "Memory", "sizeLimit": settings.shared_memory})
        volumes.append({"name": "shm", "emptyDir": room})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    taken = {mount["mountPath"] for mount in mounts}
    wanted = dict.fromkeys([*_WRITABLE_DIRS, *settings.writable_dirs])
    for number, path in enumerate(path for path in wanted if path not in taken):
        volumes.append({"name": f"writable-{number}", "emptyDir": {}})
        mounts.append({"name": f"writable-{number}", "mountPath": path})
    return volumes, mounts


def _without_empty(spec: Manifest) -> Manifest:
    return {key: value for key, value in spec.items() if value not in (None, {}, [])}
