"""What stands around the pods of a Job or JobSet: their host names, and who may connect to them.

Pure functions from the created workload to the objects, as plain dicts. Kubernetes deletes them
with it.
"""

from launchers.kubernetes.manifest import Manifest
from launchers.kubernetes.objects import ATTEMPT_LABEL, GROUP_LABEL, JOBSET_API
from launchers.kubernetes.workload import Workload


def service(job: Workload, port: int) -> Manifest:
    """The headless Service that gives the pods of a created Job their host names.

    It belongs to the Job and goes with it.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": job.name,
            "labels": job.labels,
            "ownerReferences": [_owner_reference(job, jobset=False)],
        },
        "spec": {
            "clusterIP": "None",
            # Workers look for each other long before they are ready.
            "publishNotReadyAddresses": True,
            "selector": _attempt_labels(job),
            "ports": [{"name": "tensorflow", "port": port, "targetPort": port}],
        },
    }


def network_policy(job: Workload, jobset: bool) -> Manifest:
    """Lets only the pods of a created Job or JobSet connect to its pods; goes with it.

    It says nothing of what they may connect to: a policy that did would cut off a store that it
    does not know. That is the namespace's affair (`kubeflow/manifests`).
    """
    peers = {"matchLabels": _attempt_labels(job)}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": job.name,
            "labels": job.labels,
            "ownerReferences": [_owner_reference(job, jobset)],
        },
        "spec": {
            "podSelector": peers,
            "policyTypes": ["Ingress"],
            # All ports: NCCL chooses its own.
            "ingress": [{"from": [{"podSelector": peers}]}],
        },
    }


def _owner_reference(job: Workload, jobset: bool) -> Manifest:
    """Has Kubernetes delete an object with the created Job or JobSet that it belongs to."""
    return {
        "apiVersion": JOBSET_API if jobset else "batch/v1",
        "kind": "JobSet" if jobset else "Job",
        "name": job.name,
        "uid": job.uid,
    }


def _attempt_labels(job: Workload) -> dict[str, str]:
    """What the pods of a Job or JobSet have and no other pods."""
    return {label: job.labels[label] for label in (GROUP_LABEL, ATTEMPT_LABEL)}
