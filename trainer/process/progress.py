"""Reports to the watcher of a run how far the work at hand has come.

A watcher names a file in the environment; without one nothing happens, so a Beam worker
on another machine or a library user pays nothing. One JSON line a report, appended in
one write, so that several processes may share the file.
"""

import json
import os
import time
from dataclasses import dataclass
from typing import ClassVar

from trainer.process import watchdog
from trainer.records import Record, to_json

EVENTS_FILE = "THAW_EVENTS_FILE"
NODE = "THAW_NODE"

_MIN_INTERVAL_SECS = 0.3


@dataclass(frozen=True)
class Event(Record):
    """One report. The others are in `pipeline.events`, which also reads them.

    Attributes:
      kind: says in the file which class an event is of.
    """

    kind: ClassVar[str]

    def to_line(self) -> str:
        """The event as a line of JSON, without the values that are None."""
        values = {name: value for name, value in to_json(self).items() if value is not None}
        return json.dumps({"event": self.kind, **values}) + "\n"


@dataclass(frozen=True)
class Progress(Event):
    """So much of a node's work is finished.

    Attributes:
      node: its name; empty outside a run.
      done: in `unit`, such as "epochs"; may be a fraction.
      total: likewise.
      unit: what is counted.
      detail: more to show beside it.
    """

    kind: ClassVar[str] = "progress"
    node: str
    done: float
    total: float
    unit: str
    detail: str


def emit(event: Event) -> None:
    """Appends one event to the file that `THAW_EVENTS_FILE` names, if any."""
    path = os.environ.get(EVENTS_FILE)
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(event.to_line())


def report(done: float, total: float, unit: str, detail: str = "") -> None:
    """Says that `done` of `total` units of this node's work are finished."""
    emit(Progress(os.environ.get(NODE, ""), done, total, unit, detail))


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
