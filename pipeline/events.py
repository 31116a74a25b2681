"""What a run reports to its watcher, as lines of JSON in one file.

Written by the process that runs the nodes and by the nodes themselves (see
`trainer.process.progress`), read by the live view. A run on a cluster makes the same events.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trainer.process.progress import EVENTS_FILE, NODE, Event, Progress, emit
from trainer.records import Mismatch, parse

__all__ = [
    "CACHED",
    "DONE",
    "EVENTS_FILE",
    "FAILED",
    "NODE",
    "RUNNING",
    "End",
    "Event",
    "NodeState",
    "Note",
    "Plan",
    "Progress",
    "end",
    "node",
    "note",
    "plan",
    "read",
]

RUNNING = "running"
CACHED = "cached"
DONE = "done"
FAILED = "failed"


@dataclass(frozen=True)
class Plan(Event):
    """The nodes of the run, first to last, and when it began, in seconds since 1970."""

    kind: ClassVar[str] = "plan"
    nodes: tuple[str, ...]
    time: float


@dataclass(frozen=True)
class NodeState(Event):
    """A node has begun or ended.

    Attributes:
      node: its name.
      state: `RUNNING`, `CACHED`, `DONE` or `FAILED`.
      time: when, in seconds since 1970.
      log: path of its log.
      error: why it failed.
    """

    kind: ClassVar[str] = "node"
    node: str
    state: str
    time: float
    log: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Note(Event):
    """Something about the run that a user should know, while it continues."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class End(Event):
    """The run is over; `error` is why, where no node has said it."""

    kind: ClassVar[str] = "end"
    ok: bool
    error: str | None = None


_KINDS: dict[str, type[Event]] = {one.kind: one for one in (Plan, NodeState, Note, End, Progress)}


def read(line: str) -> Event:
    """Reads an event from its line, as `Event.to_line` has written it.

    Example:
      >>> read('{"event": "note", "text": "3 files are gone."}')
      Note(text='3 files are gone.')

    Raises:
      Mismatch: naming the kind, or the keys, that there are not.
    """
    values = json.loads(line)
    kind = values.pop("event", None)
    if kind not in _KINDS:
        raise Mismatch(f"event: {kind!r} is not one of {', '.join(_KINDS)}")
    return parse(_KINDS[kind], json.dumps(values))


def plan(nodes: Sequence[str]) -> None:
    """Names the nodes of the run, first to last."""
    emit(Plan(tuple(nodes), time.time()))


def node(name: str, state: str, log: Path | None = None, error: str | None = None) -> None:
    """Says that a node is running, cached, done or failed, and why."""
    emit(NodeState(name, state, time.time(), str(log) if log else None, error or None))


def note(text: str) -> None:
    """Says something about the run that a user should know; the run continues."""
    emit(Note(text))


def end(ok: bool, error: str | None = None) -> None:
    """Says that the run is over; `error` is why, where no node has said it."""
    emit(End(ok, error or None))
