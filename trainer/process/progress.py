"""Tells whoever watches a run how far the work at hand has come.

A watcher names a file in the environment; without one nothing happens, so a Beam worker
on another machine or a library user pays nothing. One JSON line a report, appended in
one write, so that several processes may share the file.
"""

import json
import os
import time
from typing import Any

from trainer.process import watchdog

EVENTS_FILE = "THAW_EVENTS_FILE"
NODE = "THAW_NODE"

_MIN_INTERVAL_SECS = 0.3


def emit(event: dict[str, Any]) -> None:
    """Appends one event to the file that `THAW_EVENTS_FILE` names, if any."""
    path = os.environ.get(EVENTS_FILE)
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def report(done: float, total: float, unit: str, detail: str = "") -> None:
    """Says that `done` of `total` units of this node's work are finished."""
    emit(
        {
            "event": "progress",
            "node": os.environ.get(NODE, ""),
            "done": done,
            "total": total,
            "unit": unit,
            "detail": detail,
        }
    )


class Counter:
    """Counts finished items of one kind in this process and reports now and then."""

    def __init__(self, unit: str, total: int, watched: bool = True) -> None:
        """Args:
        unit: what is counted.
        total: how many there will be.
        watched: whether to report at all; of several workers one does.
        """
        self._watched = watched
        self._unit = unit
        self._total = total
        self._done = 0.0
        self._reported = 0.0

    def add(self, items: int = 1) -> None:
        """Counts `items` more."""
        self.reach(self._done + items)

    def reach(self, done: float, detail: str = "") -> None:
        """Says how many are done by now; writes at most a few reports a second."""
        self._done = done
        watchdog.heartbeat()
        now = time.monotonic()
        due = done >= self._total or now - self._reported > _MIN_INTERVAL_SECS
        if self._watched and due:
            self._reported = now
            report(min(done, self._total), self._total, self._unit, detail)
