"""What makes a stand-in API server a cluster: the controllers that act on its objects.

The Job controller makes one pod an index, counts how they end, and ends the others with
the first that fails (`backoffLimit: 0`). Deleting a Job deletes its pods and Services.
What the pods do is for the test to say, or for real processes (`Processes`).
"""

import json
import threading
from typing import Any

from tests.gang.kube_api import KubeApi, Store, now

INDEX = "batch.kubernetes.io/job-completion-index"


class Cluster:
    """Controllers on a server's store."""

    def __init__(self, api: KubeApi) -> None:
        self.store: Store = api.store
        self._lock = threading.RLock()
        self.store.on_change.append(self._act)
        self.runs_at_once = True
        """Whether pods start by themselves."""
        self.no_node_for: dict[int, str] = {}
        """Why pods of these numbers cannot be scheduled."""
        self.pods_linger = False
        """Whether pods outlive their Job, as they do while they save."""

    def pod(self, index: int) -> dict[str, Any]:
        """The newest pod of that number."""
        pods = [one for one in self.store.all("pods") if _index(one) == index]
        return pods[-1]

    def pods(self) -> list[dict[str, Any]]:
        return self.store.all("pods")

    def runs(self, index: int) -> None:
        pod = self.pod(index)
        self.store.logs.setdefault(pod["metadata"]["name"], [])
        self._status(pod, "Running", {"running": {"startedAt": now()}})

    def waits(self, index: int, reason: str, message: str = "") -> None:
        waiting = {"reason": reason, "message": message}
        self._status(self.pod(index), "Pending", {"waiting": waiting})

    def says(self, index: int, *lines: str) -> None:
        for line in lines:
            self.store.add_log(self.pod(index)["metadata"]["name"], line)

    def ends(self, index: int, code: int, reason: str = "", at: str = "") -> None:
        ended = {
            "exitCode": code,
            "reason": reason or ("Error" if code else "Completed"),
            "finishedAt": at or now(),
        }
        self._status(self.pod(index), "Failed" if code else "Succeeded", {"terminated": ended})

    def all_end_well(self) -> None:
        for pod in self.pods():
            self.ends(_index(pod), 0)

    def is_evicted(self, index: int) -> None:
        pod = self.pod(index)
        pod["status"] = {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "The node was low on resource: memory.",
        }
        self.store.put("MODIFIED", "pods", pod)

    def lingering_pods_go(self) -> None:
        for pod in self.pods():
            self.store.put("DELETED", "pods", pod)

    def vanishes(self, index: int) -> None:
        """Its node goes away, and the pod with it."""
        self.store.put("DELETED", "pods", self.pod(index))

    def deadline_passes(self) -> None:
        with self._lock:
            (job,) = self.store.all("jobs")
            self._finish(job, "Failed", "DeadlineExceeded", "Job was active longer than specified")

    def _act(self, event: str, plural: str, one: dict[str, Any]) -> None:
        with self._lock:
            if plural == "jobsets" and event == "ADDED":
                self._make_job_of(one)
            if plural in ("jobs", "jobsets") and event == "DELETED":
                self._collect(one)
            if plural == "jobs" and event == "ADDED":
                self._make_pods(one)
            if plural == "jobs" and event == "MODIFIED":
                self._pass_on(one)
            if plural == "pods" and event in ("MODIFIED", "DELETED"):
                self._count(event, one)

    def _make_job_of(self, jobset: dict[str, Any]) -> None:
        (part,) = jobset["spec"]["replicatedJobs"]
        name = f"{jobset['metadata']['name']}-{part['name']}-0"
        metadata = {
            "name": name,
            "namespace": jobset["metadata"]["namespace"],
            "uid": f"uid-{name}",
            "creationTimestamp": now(),
            "ownerReferences": [{"uid": jobset["metadata"]["uid"]}],
        }
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
        self.store.put("ADDED", "jobs", {**job, **json.loads(json.dumps(part["template"]))})

    def _make_pods(self, job: dict[str, Any]) -> None:
        template = job["spec"]["template"]
        for index in range(job["spec"]["completions"]):
            metadata = {
                "name": f"{job['metadata']['name']}-{index}-x{self.store.version()}",
                "namespace": job["metadata"]["namespace"],
                "labels": template["metadata"]["labels"],
                "annotations": {INDEX: str(index)},
                "creationTimestamp": now(),
                "ownerReferences": [{"uid": job["metadata"]["uid"]}],
            }
            pod = {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}}
            self.store.put("ADDED", "pods", pod)
            if index in self.no_node_for:
                self._is_unschedulable(pod, self.no_node_for[index])
            elif self.runs_at_once:
                self.runs(index)

    def _is_unschedulable(self, pod: dict[str, Any], message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        pod["status"]["conditions"] = [{**condition, "message": message}]
        self.store.put("MODIFIED", "pods", pod)

    def _status(self, pod: dict[str, Any], phase: str, state: dict[str, Any]) -> None:
        pod["status"] = {"phase": phase, "containerStatuses": [{"name": "worker", "state": state}]}
        self.store.put("MODIFIED", "pods", pod)

    def _count(self, event: str, pod: dict[str, Any]) -> None:
        owner = pod["metadata"]["ownerReferences"][0]["uid"]
        job = next((j for j in self.store.all("jobs") if j["metadata"]["uid"] == owner), None)
        if job is None or job.get("status", {}).get("conditions"):
            return
        pods = [one for one in self.pods() if one["metadata"]["ownerReferences"][0]["uid"] == owner]
        phases = [one["status"]["phase"] for one in pods]
        if "Failed" in phases or event == "DELETED":
            for one in pods:
                if one["status"]["phase"] in ("Pending", "Running"):
                    self.store.put("DELETED", "pods", one)
            self._finish(job, "Failed", "BackoffLimitExceeded", "Job has reached the limit")
        elif phases.count("Succeeded") == job["spec"]["completions"]:
            self._finish(job, "Complete", "CompletionsReached", "")
        else:
            job["status"] = {"active": phases.count("Running")}
            self.store.put("MODIFIED", "jobs", job)

    def _finish(self, job: dict[str, Any], kind: str, reason: str, message: str) -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        job["status"] = {"conditions": [condition]}
        self.store.put("MODIFIED", "jobs", job)

    def _pass_on(self, job: dict[str, Any]) -> None:
        """A JobSet ends as its only job does."""
        owners = [one["uid"] for one in job["metadata"].get("ownerReferences", [])]
        for jobset in self.store.all("jobsets"):
            conditions = json.loads(json.dumps(job.get("status", {}).get("conditions", [])))
            if jobset["metadata"]["uid"] in owners and conditions:
                if conditions[0]["type"] == "Complete":
                    conditions[0]["type"] = "Completed"
                else:
                    # As its controller puts it, whatever the job's own reason was.
                    conditions[0]["reason"] = "ReachedMaxRestarts"
                    conditions[0]["message"] = (
                        "jobset failed due to reaching max number of restarts"
                    )
                jobset["status"] = {"conditions": conditions}
                self.store.put("MODIFIED", "jobsets", jobset)

    def _collect(self, owner: dict[str, Any]) -> None:
        kinds = ("services", "jobs") if self.pods_linger else ("services", "jobs", "pods")
        for plural in kinds:
            for one in self.store.all(plural):
                owners = [ref["uid"] for ref in one["metadata"].get("ownerReferences", [])]
                if owner["metadata"]["uid"] in owners:
                    self.store.put("DELETED", plural, one)


def _index(pod: dict[str, Any]) -> int:
    return int(pod["metadata"]["annotations"][INDEX])
