"""What makes a stand-in API server a cluster: the controllers that act on its objects.

The Job controller makes one pod an index, counts how they end, and ends the others with
the first that fails (`backoffLimit: 0`). Deleting a Job deletes its pods and Services.
What the pods do is for the test to say, or for real processes (`Processes`).

Pods that are refused (`kube_admission.py`) are dealt with as in Kubernetes' sources:

- `pkg/controller/controller_utils.go`, RealPodControl.createPods: the error becomes a Warning
  on the Job with reason FailedCreate and message "Error creating: %v"; there is no pod, and
  the Job's status says nothing of it;
- `pkg/controller/job/job_controller.go`, manageJob: pods are made in growing batches, the first
  of one pod (SlowStartInitialBatchSize), and after an error the rest is skipped. The Job is
  looked at again after DefaultJobApiBackOff (1 s), twice as long each time, up to
  MaxJobApiBackOff (1 min); `BACKOFF_SECS` is shorter;
- `client-go/tools/record/events_cache.go`: of more than 10 similar events one is kept and
  counted, its message after "(combined from similar events): ".

A suspended Job has no pods; when resumed, its `startTime` is now (same file, syncJob).
"""

import json
import threading
import uuid
from typing import Any

from tests.launchers.kube_admission import Admission
from tests.launchers.kube_api import KubeApi
from tests.launchers.kube_store import Store, now

INDEX = "batch.kubernetes.io/job-completion-index"
QUEUE = "kueue.x-k8s.io/queue-name"
BACKOFF_SECS = (0.05, 0.4)
_MAX_SIMILAR_EVENTS = 10


class Cluster:
    """Controllers on a server's store."""

    def __init__(self, api: KubeApi) -> None:
        self.store: Store = api.store
        self.admission = Admission()
        self._lock = api.store.changed
        self.store.on_change.append(self._act)
        api.webhooks.append(self._hold)
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
        self._status(pod, {"running": {"startedAt": now()}})

    def waits(self, index: int, reason: str, message: str = "") -> None:
        waiting = {"reason": reason, "message": message}
        self._status(self.pod(index), {"waiting": waiting})

    def says(self, index: int, *lines: str) -> None:
        for line in lines:
            self.store.add_log(self.pod(index)["metadata"]["name"], line)

    def ends(self, index: int, code: int, reason: str = "", at: str = "") -> None:
        """A worker ends; where there is a sidecar, that runs on, and so does the pod."""
        self._status(self.pod(index), _terminated(code, reason, at))

    def sidecar_ends(self, index: int, code: int) -> None:
        """The other container of a pod ends, whatever the worker does."""
        pod = self.pod(index)
        for one in pod["status"]["containerStatuses"]:
            if one["name"] != "worker":
                one["state"] = _terminated(code)
        self._put_status(pod, pod["status"]["containerStatuses"])

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

    def admits(self) -> None:
        """Kueue finds room for what it holds, and resumes the Jobs and JobSets."""
        with self._lock:
            for jobset in self.store.all("jobsets"):
                jobset["spec"]["suspend"] = False
                self.store.put("MODIFIED", "jobsets", jobset)
            for job in self.store.all("jobs"):
                job["spec"]["suspend"] = False
                # The controller has not looked yet.
                self.store.put("MODIFIED", "jobs", job)
                self._set_condition(job, "Suspended", "False", "JobResumed", "Job resumed")
                job["status"]["startTime"] = now()
                self.store.put("MODIFIED", "jobs", job)
                self._make_pods(job)

    def _hold(self, workload: dict[str, Any]) -> None:
        """As Kueue's webhook: what has a queue begins suspended."""
        in_queue = QUEUE in workload["metadata"].get("labels", {})
        if in_queue and workload["kind"] in ("Job", "JobSet"):
            workload["spec"]["suspend"] = True

    def _act(self, event: str, plural: str, one: dict[str, Any]) -> None:
        with self._lock:
            if plural == "jobsets" and event == "ADDED":
                self._make_job_of(one)
            if plural in ("jobs", "jobsets") and event == "DELETED":
                self._collect(one)
            if plural == "jobs" and event == "ADDED":
                self._begin(one)
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
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now(),
            "ownerReferences": [{"uid": jobset["metadata"]["uid"]}],
        }
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}
        job |= json.loads(json.dumps(part["template"]))
        job["spec"]["suspend"] = jobset["spec"].get("suspend", False)
        self.store.put("ADDED", "jobs", job)

    def _begin(self, job: dict[str, Any]) -> None:
        if job["spec"].get("suspend"):
            self._set_condition(job, "Suspended", "True", "JobSuspended", "Job suspended")
            self.store.put("MODIFIED", "jobs", job)
            return
        job["status"] = {"startTime": now()}
        self.store.put("MODIFIED", "jobs", job)
        self._make_pods(job)

    def _make_pods(self, job: dict[str, Any], backoff_secs: float = BACKOFF_SECS[0]) -> None:
        there = {_index(pod) for pod in self.pods() if _is_owned(pod, job)}
        for index in sorted(set(range(job["spec"]["completions"])) - there):
            pod = self._new_pod(job, index)
            refused = self.admission.admit(pod)
            if refused:
                self._warn(job, "FailedCreate", f"Error creating: {refused}")
                self._try_later(job, backoff_secs)
                return
            self.store.put("ADDED", "pods", pod)
            if index in self.no_node_for:
                self._is_unschedulable(pod, self.no_node_for[index])
            elif self.runs_at_once:
                self.runs(index)

    def _new_pod(self, job: dict[str, Any], index: int) -> dict[str, Any]:
        template = json.loads(json.dumps(job["spec"]["template"]))
        metadata = {
            "name": f"{job['metadata']['name']}-{index}-{uuid.uuid4().hex[:5]}",
            "namespace": job["metadata"]["namespace"],
            "labels": template["metadata"]["labels"],
            "annotations": {**template["metadata"].get("annotations", {}), INDEX: str(index)},
            "creationTimestamp": now(),
            "ownerReferences": [{"uid": job["metadata"]["uid"]}],
        }
        return {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}}

    def _try_later(self, job: dict[str, Any], secs: float) -> None:
        timer = threading.Timer(secs, self._try_again, (job, min(2 * secs, BACKOFF_SECS[1])))
        timer.daemon = True
        timer.start()

    def _try_again(self, job: dict[str, Any], backoff_secs: float) -> None:
        with self._lock:
            there = self.store.all("jobs", name=job["metadata"]["name"])
            if there and there[0]["metadata"]["uid"] == job["metadata"]["uid"]:
                self._make_pods(there[0], backoff_secs)

    def _warn(self, job: dict[str, Any], reason: str, message: str) -> None:
        """Records an event on a Job, or counts up the one that stands for many."""
        uid = job["metadata"]["uid"]
        similar = self.store.all("events", fields=f"involvedObject.uid={uid},reason={reason}")
        if len(similar) > _MAX_SIMILAR_EVENTS:
            event = similar[-1] | {"count": similar[-1]["count"] + 1, "lastTimestamp": now()}
            event["message"] = f"(combined from similar events): {message}"
            self.store.put("MODIFIED", "events", event)
            return
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{name}.{uuid.uuid4().hex[:16]}",
                "namespace": namespace,
                "creationTimestamp": now(),
            },
            "involvedObject": {"kind": "Job", "namespace": namespace, "name": name, "uid": uid},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": {"component": "job-controller"},
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
        }
        self.store.put("ADDED", "events", event)

    def _is_unschedulable(self, pod: dict[str, Any], message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        pod["status"]["conditions"] = [{**condition, "message": message}]
        self.store.put("MODIFIED", "pods", pod)

    def _status(self, pod: dict[str, Any], worker: dict[str, Any]) -> None:
        """Puts what the worker's container does. Its sidecar started before it, and runs.

        Sorted by name, as the kubelet does (SortedContainerStatuses).
        """
        before = {one["name"]: one["state"] for one in pod["status"].get("containerStatuses", [])}
        runs = {"running": {"startedAt": now()}}
        statuses = [
            {"name": name, "state": worker if name == "worker" else before.get(name, runs)}
            for name in sorted(one["name"] for one in pod["spec"]["containers"])
        ]
        self._put_status(pod, statuses)

    def _put_status(self, pod: dict[str, Any], statuses: list[dict[str, Any]]) -> None:
        pod["status"] = {
            "phase": _phase([one["state"] for one in statuses]),
            "containerStatuses": statuses,
        }
        self.store.put("MODIFIED", "pods", pod)

    def _count(self, event: str, pod: dict[str, Any]) -> None:
        job = next((job for job in self.store.all("jobs") if _is_owned(pod, job)), None)
        if job is None or _is_finished(job):
            return
        pods = [one for one in self.pods() if _is_owned(one, job)]
        phases = [one["status"]["phase"] for one in pods]
        if "Failed" in phases or event == "DELETED":
            for one in pods:
                if one["status"]["phase"] in ("Pending", "Running"):
                    self.store.put("DELETED", "pods", one)
            self._finish(job, "Failed", "BackoffLimitExceeded", "Job has reached the limit")
        elif phases.count("Succeeded") == job["spec"]["completions"]:
            self._finish(job, "Complete", "CompletionsReached", "")
        else:
            job.setdefault("status", {})["active"] = len(phases) - phases.count("Succeeded")
            self.store.put("MODIFIED", "jobs", job)

    def _finish(self, job: dict[str, Any], kind: str, reason: str, message: str) -> None:
        self._set_condition(job, kind, "True", reason, message)
        self.store.put("MODIFIED", "jobs", job)

    def _set_condition(
        self, job: dict[str, Any], kind: str, status: str, reason: str, message: str
    ) -> None:
        conditions = job.setdefault("status", {}).setdefault("conditions", [])
        conditions[:] = [one for one in conditions if one["type"] != kind]
        condition = {"type": kind, "status": status, "reason": reason, "message": message}
        conditions.append({**condition, "lastTransitionTime": now()})

    def _pass_on(self, job: dict[str, Any]) -> None:
        """A JobSet ends as its only job does."""
        owners = [one["uid"] for one in job["metadata"].get("ownerReferences", [])]
        for jobset in self.store.all("jobsets"):
            if jobset["metadata"]["uid"] in owners and _is_finished(job):
                if job["status"]["conditions"][-1]["type"] == "Complete":
                    self._set_condition(jobset, "Completed", "True", "AllJobsCompleted", "")
                else:
                    # As its controller puts it, whatever the job's own reason was.
                    message = "jobset failed due to reaching max number of restarts"
                    self._set_condition(jobset, "Failed", "True", "ReachedMaxRestarts", message)
                self.store.put("MODIFIED", "jobsets", jobset)

    def _collect(self, owner: dict[str, Any]) -> None:
        owned = ("services", "networkpolicies", "jobs")
        kinds = owned if self.pods_linger else (*owned, "pods")
        for plural in kinds:
            for one in self.store.all(plural):
                owners = [ref["uid"] for ref in one["metadata"].get("ownerReferences", [])]
                if owner["metadata"]["uid"] in owners:
                    self.store.put("DELETED", plural, one)


def _phase(states: list[dict[str, Any]]) -> str:
    """A pod's, from its containers', where none is started again (kubelet's getPhase)."""
    if any("waiting" in state for state in states):
        return "Pending"
    if any("running" in state for state in states):
        return "Running"
    codes = [state["terminated"]["exitCode"] for state in states]
    return "Failed" if any(codes) else "Succeeded"


def _terminated(code: int, reason: str = "", at: str = "") -> dict[str, Any]:
    ended = {
        "exitCode": code,
        "reason": reason or ("Error" if code else "Completed"),
        "finishedAt": at or now(),
    }
    return {"terminated": ended}


def _is_finished(job: dict[str, Any]) -> bool:
    conditions = job.get("status", {}).get("conditions", [])
    return any(one["type"] in ("Complete", "Failed") for one in conditions)


def _is_owned(pod: dict[str, Any], job: dict[str, Any]) -> bool:
    return bool(pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"])


def _index(pod: dict[str, Any]) -> int:
    return int(pod["metadata"]["annotations"][INDEX])
