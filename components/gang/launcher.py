"""The one interface to a job of several workers: where they run is the launcher's affair.

The implementations are `components.gang.local` and `components.gang.kubernetes`. On Vertex
the service itself starts the workers, and none of this is used.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trainer import watchdog
from trainer.tasks import CHIEF, WORKER, worker_name

__all__ = [
    "KUBERNETES",
    "LOCAL",
    "Gang",
    "GangFailed",
    "Launcher",
    "Limits",
    "make_launcher",
    "tf_config",
    "worker_name",
]

LOCAL = "local"
KUBERNETES = "kubernetes"

LAST_LINES = 15
# What shows a message cuts it after 1,500 characters, and the end says most.
_LOG_CHARACTERS = 1000
_LINE_CHARACTERS = 200


@dataclass(frozen=True)
class Limits:
    """How long to wait, and how often to begin again.

    Attributes:
      start_secs: from a worker's start until it has met all the others.
      stall_secs: between two steps of training, or other signs of progress. The first
        step compiles the graph, and the export is one step of its own: minutes, not seconds.
      max_restarts: after a worker was lost, all are started again this often. They go on
        from the last completed epoch.
      deadline_secs: for the whole job with its restarts; 0: none.

    Raises:
      ValueError: if a limit makes no sense.
    """

    start_secs: float = watchdog.START_SECS
    stall_secs: float = watchdog.STALL_SECS
    max_restarts: int = 3
    deadline_secs: float = 0.0

    def __post_init__(self) -> None:
        for name in ("start_secs", "stall_secs"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name)}.")
        for name in ("max_restarts", "deadline_secs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}.")


@dataclass(frozen=True)
class Gang:
    """A job of several workers that run one request together.

    Attributes:
      name: lower-case DNS-1123 label, from pipeline, node and a hash of the request: the
        same execution run again gives the same name, and a launcher finds its own job.
      request_uri: file that every worker reads; see `components.gang.worker`.
      num_workers: task 0 is the chief.
      log_dir: local folder for a log of each worker.
      limits: see there.
    """

    name: str
    request_uri: str
    num_workers: int
    log_dir: str
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.num_workers < 1:
            raise ValueError(f"a gang needs at least one worker, not {self.num_workers}.")


class GangFailed(RuntimeError):
    """A job of several workers failed for good.

    The message names the worker, what happened to it, what to do, and ends with the last
    lines of its log.
    """

    def __init__(
        self, gang: str, worker: str, what: str, to_do: str, last_lines: Sequence[str] = ()
    ) -> None:
        text = f"{gang}: {worker} {what}\n  {to_do}"
        if last_lines:
            shown = "\n".join(f"  | {line}" for line in _that_fit(last_lines))
            text += f"\n  The last lines of its log:\n{shown}"
        super().__init__(text)
        self.worker = worker


def _that_fit(lines: Sequence[str]) -> list[str]:
    """The last of them, shortened, of which a message has room."""
    found: list[str] = []
    room = _LOG_CHARACTERS
    for line in reversed(lines[-LAST_LINES:]):
        shown = line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]}…"
        room -= len(shown)
        if room < 0:
            break
        found.insert(0, shown)
    return found


class Launcher(Protocol):
    """Runs gangs in one kind of place."""

    def run(self, gang: Gang) -> None:
        """Returns when all workers have ended well.

        Running the same gang again, after this process was lost, must be safe.

        Raises:
          GangFailed: nothing is left running then.
        """


def make_launcher(settings: dict[str, Any]) -> Launcher:
    """The launcher that `settings["kind"]` names; the other settings are its own.

    Raises:
      ValueError: if there is none of that kind.
    """
    # Imported late: a cluster's client is not needed on a laptop.
    own = {name: value for name, value in settings.items() if name != "kind"}
    if settings.get("kind") == LOCAL:
        from components.gang import local

        return local.LocalLauncher(**own)
    if settings.get("kind") == KUBERNETES:
        from components.gang import kubernetes

        return kubernetes.make_launcher(own)
    raise ValueError(f"launcher {settings.get('kind')!r} is not known: {LOCAL} or {KUBERNETES}.")


def tf_config(addresses: Sequence[str], index: int) -> str:
    """`TF_CONFIG` of one task.

    Args:
      addresses: `host:port` of every task. Task 0 is named chief, as TFX asks for.
      index: of the task, in the gang.
    """
    cluster = {CHIEF: list(addresses[:1])}
    if len(addresses) > 1:
        cluster[WORKER] = list(addresses[1:])
    task = {"type": CHIEF, "index": 0} if index == 0 else {"type": WORKER, "index": index - 1}
    return json.dumps({"cluster": cluster, "task": task})
