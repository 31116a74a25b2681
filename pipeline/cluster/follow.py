"""Follows a run on a cluster and tells of its tasks as a local run does of its nodes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline import events
from pipeline.cluster.target import RunFailed

POLL_SECS = 10.0

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Task:
    """A task's state, one of `pipeline.events`, and what went wrong."""

    state: str
    error: str = ""


@dataclass(frozen=True)
class Look:
    """What a service says of a run: its state, and that of each task that has begun."""

    state: str
    tasks: dict[str, Task] = field(default_factory=dict)
    error: str = ""


def follow(look: Callable[[], Look], nodes: Sequence[str], url: str, on_event: OnEvent) -> None:
    """Asks how a run does, every `POLL_SECS`, until it has ended, and hands on what is new.

    Args:
      look: asks the service once.
      nodes: all tasks, first to last.
      url: where the run can be watched; named in the error.
      on_event: takes the events of `pipeline.events`.

    Raises:
      RunFailed: naming the tasks that failed and why.
    """
    on_event({"event": "plan", "nodes": list(nodes), "time": time.time()})
    known: dict[str, Task] = {}
    while True:
        seen = look()
        for name, task in seen.tasks.items():
            if name in nodes and known.get(name) != task:
                known[name] = task
                event = {"event": "node", "node": name, "time": time.time(), **vars(task)}
                on_event(event)
        if seen.state != events.RUNNING:
            break
        time.sleep(POLL_SECS)
    on_event({"event": "end", "ok": seen.state == events.DONE})
    if seen.state != events.DONE:
        raise RunFailed(_what_failed(seen, url))


def _what_failed(seen: Look, url: str) -> str:
    failed = [
        f"{name} failed: {task.error or 'no reason was given'}"
        for name, task in seen.tasks.items()
        if task.state == events.FAILED
    ]
    said = [seen.error] if seen.error else []
    reasons = failed or said or ["the run did not succeed, and no reason was given"]
    return "\n".join([*reasons, f"  Its logs: {url}"])
