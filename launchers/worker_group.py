"""The one interface to a job of several workers: where they run is the launcher's affair.

The implementations are `launchers.local.launcher` and `launchers.kubernetes.launcher`. On Vertex
the service itself starts the workers, and none of this is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trainer.errors import ThawError, is_envelope
from trainer.process import watchdog

LAST_LINES = 15
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
class WorkerGroup:
    """A job of several workers that run one request together.

    Attributes:
      name: lower-case DNS-1123 label, from pipeline, node and a hash of the request: the
        same execution run again gives the same name, and a launcher finds its own job.
      request_uri: file that every worker reads; see `launchers.worker`.
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
            raise ValueError(f"a worker group needs at least one worker, not {self.num_workers}.")


class WorkerGroupFailed(ThawError):
    """A job of several workers failed for good.

    The message names the worker, what happened to it, what to do, and ends with the last
    lines of its log.
    """

    def __init__(
        self, group: str, worker: str, what: str, to_do: str, last_lines: Sequence[str] = ()
    ) -> None:
        text = f"{group}: {worker} {what}\n  {to_do}"
        if last_lines:
            shown = "\n".join(f"  | {line}" for line in _readable(last_lines))
            text += f"\n  The last lines of its log:\n{shown}"
        super().__init__(text)
        self.worker = worker


def _readable(lines: Sequence[str]) -> list[str]:
    """The last of them, shortened."""
    last = [line for line in lines if not is_envelope(line)][-LAST_LINES:]
    return [
        f"{line[:_LINE_CHARACTERS]}…" if len(line) > _LINE_CHARACTERS else line for line in last
    ]


class Launcher(Protocol):
    """Runs worker groups in one kind of place."""

    def run(self, group: WorkerGroup) -> None:
        """Returns when all workers have ended well.

        Running the same worker group again, after this process was lost, must be safe.

        Raises:
          WorkerGroupFailed: nothing is left running then.
        """
