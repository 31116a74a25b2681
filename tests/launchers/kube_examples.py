"""The examples of `kubeflow/examples`: what the launcher asks the cluster for.

    python -m tests.launchers.kube_examples

writes them again after a change of `launchers.kubernetes.objects`.
"""

from pathlib import Path
from typing import Any

import yaml

from launchers.kubernetes import network
from launchers.kubernetes import objects as kubernetes_objects
from launchers.kubernetes.settings import read_settings
from launchers.kubernetes.workload import Workload, read_workload
from launchers.worker_group import Limits, WorkerGroup

FOLDER = Path(__file__).parents[2] / "kubeflow" / "examples"
SETTINGS = {
    "image": "registry.example/thaw:1-gpu",
    "namespace": "thaw",
    "service_account": "thaw-worker",
    "cpu": "4",
    "memory": "16Gi",
    "gpus": 1,
    "spot": "gke",
    "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
}
WORKER_GROUP = WorkerGroup(
    name="birds-finetuner-0123456789",
    request_uri="gs://bucket/birds/FineTuner/model_run/7/worker_group/request.json",
    num_workers=2,
    log_dir="logs",
    limits=Limits(deadline_secs=86400),
)
HEAD = """\
# What the launcher makes of settings like these, to look at and to try on a cluster:
#   kubectl apply --dry-run=server -f {file}
# Nothing here is applied by hand. Written by: python -m tests.launchers.kube_examples
"""


def created(job: dict[str, Any], uid: str = "1") -> Workload:
    """The job as the launcher reads it once the API server has created it."""
    by_server = {"uid": uid, "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return read_workload({**job, "metadata": {**job["metadata"], **by_server}})


def examples() -> dict[str, list[dict[str, Any]]]:
    """Objects by the file that shows them."""
    job = kubernetes_objects.workload(WORKER_GROUP, read_settings(SETTINGS), 0, 1e9, 1e9)
    service = network.service(created(job), read_settings(SETTINGS).port)
    # The Job's, which only the cluster knows.
    del service["metadata"]["ownerReferences"]
    jobset = kubernetes_objects.workload(
        WORKER_GROUP, read_settings({**SETTINGS, "workload": "jobset"}), 0, 1e9, 1e9
    )
    for one in (job, service, jobset):
        one["metadata"] = {**one["metadata"], "namespace": "thaw"}
    return {"job.yaml": [job, service], "jobset.yaml": [jobset]}


def main() -> None:
    """Writes the files."""
    for name, objects in examples().items():
        text = yaml.safe_dump_all(objects, sort_keys=False)
        head = HEAD.format(file=f"kubeflow/examples/{name}")
        (FOLDER / name).write_text(head + text, encoding="utf-8")


if __name__ == "__main__":
    main()
