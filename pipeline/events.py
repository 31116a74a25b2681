"""What a run tells its watcher, as lines of JSON in one file.

Written by the process that runs the nodes and by the nodes themselves (see
`trainer.process.progress`), read by the live view.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from trainer.process.progress import EVENTS_FILE, NODE, emit

__all__ = [
    "CACHED",
    "DONE",
    "EVENTS_FILE",
    "FAILED",
    "NODE",
    "RUNNING",
    "end",
    "node",
    "note",
    "plan",
]

RUNNING = "running"
CACHED = "cached"
DONE = "done"
FAILED = "failed"


def plan(nodes: Sequence[str]) -> None:
    """Names the nodes of the run, first to last."""
    emit({"event": "plan", "nodes": list(nodes), "time": time.time()})


def node(name: str, state: str, log: Path | None = None, error: str | None = None) -> None:
    """Says that a node is running, cached, done or failed, and why."""
    event = {"event": "node", "node": name, "state": state, "time": time.time()}
    if log:
        event["log"] = str(log)
    if error:
        event["error"] = error
    emit(event)


def note(text: str) -> None:
    """Says something about the run that a user should know; it goes on."""
    emit({"event": "note", "text": text})


def end(ok: bool, error: str | None = None) -> None:
    """Says that the run is over; `error` is why, where no node has said it."""
    emit({"event": "end", "ok": ok, **({"error": error} if error else {})})
