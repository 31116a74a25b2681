"""The objects of the stand-in API server, every change there was, and selectors over them."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

# Of Kubernetes' pkg/registry/core/event/strategy.go; other kinds only have the metadata.
EVENT_FIELDS = (
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.uid",
    "reason",
    "type",
)


class Refused(Exception):
    """Becomes the HTTP answer with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Store:
    """All objects, and every change there was."""

    objects: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    events: list[tuple[int, str, str, dict[str, Any]]] = field(default_factory=list)
    logs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    forgotten: int = 0
    """Changes up to this version cannot be watched any more."""
    on_change: list[Callable[[str, str, dict[str, Any]], None]] = field(default_factory=list)

    def put(self, kind: str, plural: str, body: dict[str, Any]) -> dict[str, Any]:
        """Adds or replaces an object. `kind` is the event's: ADDED, MODIFIED, DELETED."""
        metadata = body["metadata"]
        key = (metadata["namespace"], plural, metadata["name"])
        with self.changed:
            version = (self.events[-1][0] if self.events else 100) + 1
            metadata["resourceVersion"] = str(version)
            body = json.loads(json.dumps(body))
            if kind == "DELETED":
                self.objects.pop(key, None)
            else:
                self.objects[key] = body
            self.events.append((version, kind, plural, body))
            self.changed.notify_all()
            # Before anybody sees the change: a Job and its pods are there at once.
            for listener in self.on_change:
                listener(kind, plural, body)
        return body

    def all(
        self, plural: str, labels: str = "", name: str = "", fields: str = ""
    ) -> list[dict[str, Any]]:
        """Copies of what fits the selectors."""
        fields = fields or (f"metadata.name={name}" if name else "")
        with self.changed:
            found = [one for (_, kind, _), one in self.objects.items() if kind == plural]
            found = [one for one in found if fits(one, labels) and has_fields(one, plural, fields)]
            return json.loads(json.dumps(found))

    def version(self) -> int:
        return self.events[-1][0] if self.events else 100

    def add_log(self, pod: str, line: str) -> None:
        stamp = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
        with self.changed:
            self.logs.setdefault(pod, []).append((stamp, line))
            self.changed.notify_all()


def name_of(one: dict[str, Any]) -> str:
    return str(one["metadata"]["name"])


def fits(one: dict[str, Any], selector: str) -> bool:
    labels = one["metadata"].get("labels", {})
    pairs = [pair.split("=") for pair in selector.split(",") if pair]
    return all(labels.get(key) == value for key, value in pairs)


def has_fields(one: dict[str, Any], plural: str, selector: str) -> bool:
    """Whether an object fits a field selector.

    Raises:
      Refused: with status 400, as by the real one, for a field that cannot be selected by.
    """
    for pair in filter(None, selector.split(",")):
        field_path, _, value = pair.partition("=")
        known = (
            "metadata.name",
            "metadata.namespace",
            *(EVENT_FIELDS if plural == "events" else ()),
        )
        if field_path not in known:
            raise Refused(400, f"field label not supported: {field_path}")
        found: Any = one
        for key in field_path.split("."):
            found = found.get(key, {})
        if found != value:
            return False
    return True


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
