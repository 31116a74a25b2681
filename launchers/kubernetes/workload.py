"""A Job or JobSet as the launcher sees it."""

from dataclasses import dataclass

from launchers.kubernetes.manifest import Manifest, seconds
from launchers.kubernetes.objects import (
    ATTEMPT_LABEL,
    FIRST_START_ANNOTATION,
    REQUEST_ANNOTATION,
)

_POD_COUNTS = ("active", "succeeded", "failed", "terminating")


@dataclass(frozen=True)
class End:
    """How a Job or JobSet ended.

    Attributes:
      well: whether it succeeded.
      reason: in Kubernetes' words; empty if it gives none.
    """

    well: bool
    reason: str


@dataclass(frozen=True)
class Workload:
    """A Job or JobSet at one moment.

    Attributes:
      name: unique among those of its kind in the namespace.
      uid: unique among all objects that there ever were.
      version: of the object, from which on its changes can be watched.
      labels: by their keys.
      annotations: likewise.
      is_being_deleted: whether somebody has deleted it.
      end: how it ended; None while it runs.
      is_suspended: whether it is held back, as Kueue does until its queue has room. Its
        controller confirms the end of a suspension by a condition, a moment after the spec.
      pending_since: from when on it may have had pods, in seconds since 1970: its creation, or
        when it was last resumed, for a Job's start time is reset then.
      counts_pods: whether it counts pods that run or ran, which a list may no longer show.
    """

    name: str
    uid: str
    version: str
    labels: dict[str, str]
    annotations: dict[str, str]
    is_being_deleted: bool
    end: End | None
    is_suspended: bool
    pending_since: float
    counts_pods: bool

    @property
    def fingerprint(self) -> str | None:
        """The `objects.fingerprint` that it was started with."""
        return self.annotations.get(REQUEST_ANNOTATION) or None

    @property
    def attempt(self) -> int:
        """Its number among the attempts of its worker group."""
        return int(self.labels[ATTEMPT_LABEL])

    @property
    def first_start(self) -> float:
        """When its worker group began, in seconds since 1970."""
        return float(self.annotations[FIRST_START_ANNOTATION])


def read_workload(manifest: Manifest) -> Workload:
    """Reads what the API server says of a Job or JobSet."""
    metadata = manifest["metadata"]
    return Workload(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        labels=metadata.get("labels", {}),
        annotations=metadata.get("annotations", {}),
        is_being_deleted=bool(metadata.get("deletionTimestamp")),
        end=_end(manifest),
        is_suspended=_is_suspended(manifest),
        pending_since=_pending_since(manifest),
        counts_pods=_counts_pods(manifest),
    )


def _end(manifest: Manifest) -> End | None:
    for condition in manifest.get("status", {}).get("conditions", []):
        if condition["status"] != "True":
            continue
        reason = ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))
        if condition["type"] in ("Complete", "Completed"):
            return End(True, reason)
        if condition["type"] == "Failed":
            return End(False, reason)
    return None


def _is_suspended(manifest: Manifest) -> bool:
    condition = _suspension(manifest)
    return bool(manifest.get("spec", {}).get("suspend")) or condition.get("status") == "True"


def _pending_since(manifest: Manifest) -> float:
    stamps = [
        manifest["metadata"]["creationTimestamp"],
        manifest.get("status", {}).get("startTime"),
        _suspension(manifest).get("lastTransitionTime"),
    ]
    return max(seconds(stamp) for stamp in stamps if stamp)


def _counts_pods(manifest: Manifest) -> bool:
    status = manifest.get("status", {})
    parts = [status, *status.get("replicatedJobsStatus", [])]
    return any(part.get(count) for part in parts for count in _POD_COUNTS) or any(
        status.get("uncountedTerminatedPods", {}).values()
    )


def _suspension(manifest: Manifest) -> Manifest:
    conditions = manifest.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == "Suspended"), {})
