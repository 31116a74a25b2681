"""A warning event: what Kubernetes' controllers say about an object."""

from dataclasses import dataclass

from launchers.kubernetes.manifest import Manifest


@dataclass(frozen=True)
class WarningEvent:
    """One warning.

    Attributes:
      reason: one word.
      message: whole sentences.
      last_seen: RFC 3339.
    """

    reason: str
    message: str
    last_seen: str


def read_warning(event: Manifest) -> WarningEvent:
    """Reads an event. Which field holds its time depends on the client that recorded it."""
    series = event.get("series") or {}
    stamps = (event.get("lastTimestamp"), series.get("lastObservedTime"), event.get("eventTime"))
    last_seen = next(filter(None, stamps), event["metadata"]["creationTimestamp"])
    return WarningEvent(str(event.get("reason")), str(event.get("message", "")), last_seen)
