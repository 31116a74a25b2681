"""The one interface to a job of several workers: where they run is the launcher's affair.

The implementations are `launchers.local.launcher` and `launchers.kubernetes.launcher`. On Vertex
the service itself starts the workers, and none of this is used.

The life of a worker. Times are in seconds; exit codes are those of `trainer.process.exit_codes`,
and `launchers.failures` says what each means to the user:

    process starts
         |                  not all workers connected within start_secs
         |----------------------------------------------> exit 60  NOT_STARTED
         v
    all workers connected
         |   nothing finished for stall_secs
         |----------------------------------------------> exit 78  STALLED     retryable
         |   another worker or a service is gone
         |----------------------------------------------> exit 76  LOST_PEER   retryable
         |   SIGTERM: it finishes the step and saves
         |----------------------------------------------> exit 75  PREEMPTED   retryable
         |   any error of the work itself
         |----------------------------------------------> exit 1 or another code
         |   a signal, such as SIGKILL
         |----------------------------------------------> signal N             retryable
         v
    exit 0

The life of a worker group. TensorFlow cannot take a worker back into a running job, so all
workers end and start together:

    attempt 0                                       attempt n + 1
         |                                               ^
         v            a worker failed                    | n < max_restarts
      running ------------------------> all workers -----+
       |    |                           are ended        | retryable
       |    | deadline_secs over, all   (grace_secs on   |
       |    | attempts together          Kubernetes)     | otherwise
       |    +------------------------------> WorkerGroupFailed
       v
    every worker exited 0

A restart resumes after the last completed epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from launchers.failures import Failure
from trainer.errors import ThawError, is_envelope
from trainer.process import watchdog

LAST_LINES = 15
_LINE_CHARACTERS = 200


@dataclass(frozen=True)
class Limits:
    """How long to wait, and how often to start again.

    Attributes:
      start_secs: from a worker's start until it has connected to all the others.
      stall_secs: between two steps of training, or other signs of progress. The first
        step compiles the graph, and the export is one step of its own: minutes, not seconds.
      max_restarts: after a worker was lost, all are started again this often. They resume
        after the last completed epoch.
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

    def allow_restart(self, failure: Failure, restarts: int) -> bool:
        """Whether all workers are started again after a failure and so many restarts."""
        return failure.retryable and restarts < self.max_restarts


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

    Attributes:
      failure: the same, in parts.
    """

    def __init__(self, group: str, failure: Failure) -> None:
        to_do = [failure.to_do]
        if failure.log:
            to_do.append(f"Its log: {failure.log}")
        if failure.last_lines:
            to_do.append("The last lines of its log:")
            to_do += [f"| {line}" for line in _readable(failure.last_lines)]
        super().__init__(failure.headline(), where=group, to_do="\n".join(to_do))
        self.args = (group, failure)
        self.failure = failure


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
