"""Reads what Kubernetes says of a worker group's pods.

A pod may hold containers besides the worker's, such as a service mesh's sidecar: what counts
is the worker's own container, by its name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from launchers.failures import Ending, Fault
from launchers.kubernetes.manifest import Manifest, seconds
from launchers.kubernetes.objects import CONTAINER
from trainer.process.tf_config import worker_name

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"

# A container that waits for one of these waits for ever: somebody must change something.
_UNRECOVERABLE = {"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"}
_OUT_OF_MEMORY = "OOMKilled"
_DISRUPTION = "DisruptionTarget"


@dataclass(frozen=True)
class Worker:
    """One pod of a worker group.

    Attributes:
      index: its number in the worker group.
      pod: its name.
      state: what it does.
      reason: why it waits or failed, in Kubernetes' words; empty if it says nothing.
      exit_code: of its container, if that has ended.
      ended_at: when that was, as RFC 3339; empty if unknown.
      made_at: when Kubernetes made the pod, as RFC 3339.
      unrecoverable: whether it waits for what will not come.
      kept_by: other containers that keep its pod running although its own has ended.
      deleted: whether the pod was deleted, other than to drain or preempt its node: when a
        worker fails, the Job's controller deletes the pods of the others.
    """

    index: int
    pod: str
    state: Literal["waiting", "running", "succeeded", "failed"]
    reason: str = ""
    exit_code: int | None = None
    ended_at: str = ""
    made_at: str = ""
    unrecoverable: bool = False
    kept_by: tuple[str, ...] = ()
    deleted: bool = False

    @property
    def name(self) -> str:
        """As messages call it."""
        return worker_name(self.index)

    def age_secs(self) -> float:
        """Since the pod was made."""
        return _secs_since(self.made_at)

    def ended_secs(self) -> float:
        """Since its container ended; infinity if Kubernetes does not say when."""
        return _secs_since(self.ended_at) if self.ended_at else float("inf")

    @property
    def ending(self) -> Ending:
        """How a worker failed, as `launchers.failures` looks it up."""
        return Ending(
            self.index,
            self.exit_code,
            at=seconds(self.ended_at) if self.ended_at else None,
            seen=Fault.OUT_OF_MEMORY if _OUT_OF_MEMORY in self.reason else None,
            group_stopped=self.deleted,
        )


def all_ended_well(workers: list[Worker], num_workers: int) -> bool:
    """Whether every worker's own container ended well, whatever else its pod did or does."""
    return len(workers) == num_workers and all(worker.exit_code == 0 for worker in workers)


def _secs_since(stamp: str) -> float:
    return datetime.now(timezone.utc).timestamp() - seconds(stamp)


def read_worker(pod: Manifest) -> Worker:
    """What a pod says of its worker."""
    metadata, status = pod["metadata"], pod.get("status", {})
    index = int(metadata.get("annotations", {}).get(INDEX_ANNOTATION, 0))
    phase = status.get("phase", "Pending")
    container = dict(_states(status, "containerStatuses")).get(CONTAINER, {})
    terminated = container.get("terminated", {})
    pod_ended = phase in ("Succeeded", "Failed")
    if pod_ended or terminated:
        failed = phase == "Failed" or terminated.get("exitCode", 0) != 0
        return Worker(
            index,
            metadata["name"],
            "failed" if failed else "succeeded",
            reason=_why_ended(status, terminated),
            exit_code=terminated.get("exitCode"),
            ended_at=terminated.get("finishedAt") or "",
            kept_by=() if pod_ended else _that_run(status),
            deleted="deletionTimestamp" in metadata and not _is_disrupted(status),
        )
    if "running" in container:
        return Worker(index, metadata["name"], "running")
    waiting = container.get("waiting", {})
    return Worker(
        index,
        metadata["name"],
        "waiting",
        reason=_why_waiting(status, waiting),
        made_at=metadata["creationTimestamp"],
        unrecoverable=waiting.get("reason") in _UNRECOVERABLE,
    )


def summary(workers: list[Worker], num_workers: int) -> str:
    """One line: how many run, and what the first that waits is waiting for."""
    counts = [
        f"{sum(worker.state == state for worker in workers)} {state}"
        for state in ("running", "succeeded", "failed")
        if any(worker.state == state for worker in workers)
    ]
    text = f"{', '.join(counts) or 'none running'} of {num_workers} workers"
    waiting = next((worker for worker in workers if worker.state == "waiting"), None)
    if waiting:
        text += f"; {waiting.name} waits"
        text += f": {waiting.reason}" if waiting.reason else ""
    return text


def _why_ended(status: Manifest, terminated: Manifest) -> str:
    said = [status.get("reason"), status.get("message")]
    for condition in status.get("conditions", []):
        if condition["type"] == _DISRUPTION:
            said.append(condition.get("message"))
    # "Error" and "Completed" say no more than the exit code does.
    if terminated.get("reason") not in ("Error", "Completed"):
        said.insert(0, terminated.get("reason"))
    if not terminated.get("exitCode"):
        said += _others_that_failed(status)
    return ": ".join(dict.fromkeys(filter(None, said)))


def _is_disrupted(status: Manifest) -> bool:
    """Whether its node is drained or was needed for another pod."""
    return any(
        condition["type"] == _DISRUPTION and condition.get("status") == "True"
        for condition in status.get("conditions", [])
    )


def _why_waiting(status: Manifest, waiting: Manifest) -> str:
    said = [waiting.get("reason"), waiting.get("message")]
    for name, state in _states(status, "initContainerStatuses"):
        if one := state.get("waiting"):
            said += [f"container {name}", one.get("reason"), one.get("message")]
            break
    if not any(said):
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] != "True":
                said = [condition.get("reason"), condition.get("message")]
    return ": ".join(filter(None, said))


def _states(status: Manifest, kind: str) -> Iterator[tuple[str, Manifest]]:
    """Name and state of each container that a pod's status lists."""
    for one in status.get(kind) or []:
        yield one["name"], one.get("state", {})


def _that_run(status: Manifest) -> tuple[str, ...]:
    states = [*_states(status, "containerStatuses"), *_states(status, "initContainerStatuses")]
    return tuple(name for name, state in states if "running" in state)


def _others_that_failed(status: Manifest) -> list[str]:
    states = [*_states(status, "initContainerStatuses"), *_states(status, "containerStatuses")]
    codes = {name: state.get("terminated", {}).get("exitCode") for name, state in states}
    return [
        f"container {name} ended with exit code {code}"
        for name, code in codes.items()
        if code and name != CONTAINER
    ]
