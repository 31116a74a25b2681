"""How a worker can end: one table that every launcher looks up.

A launcher records an `Ending` of each worker that failed. `culprit` picks the one that caused
the others, and `failure` says about it what the user reads: what happened, what to do, and
whether another start may help.

Example:
  >>> from launchers.failures import Ending, culprit, failure
  >>> first = culprit([Ending(0, exit_code=76, at=1.0), Ending(2, exit_code=-9, at=2.0)])
  >>> print(failure(first.fault, first.worker, first.exit_code).what)
  was killed by signal 9 (SIGKILL)
"""

import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, IntEnum, unique

from trainer.process import exit_codes
from trainer.process.tf_config import worker_name

_FIRST_SIGNAL = 128  # shells and containers report the end by signal N as exit code 128 + N


class Blame(IntEnum):
    """Which of several failed workers is named: the lowest, and of equals the earliest."""

    OWN = 0
    """Something happened to this worker."""
    ABORTED = 1
    """TensorFlow itself may abort where a peer is lost."""
    TIMED_OUT = 2
    """It waited for another worker."""
    BYSTANDER = 3
    """It lost a peer, or was stopped because another worker had failed."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
      what: follows the worker's name; may hold {code}, {signal} and {secs}.
      to_do: what the user can do about it.
      retryable: whether another start may go well.
      blame: how likely this worker is the cause.
    """

    what: str
    to_do: str
    retryable: bool
    blame: Blame = Blame.OWN


_RESUMES = "Run it again: it resumes after its last completed epoch."
_LOOK_AT_LOG = "Fix the error that its log shows, and run it again."
_RAISE_START = (
    "Find out why not all workers started; if they only start slowly, raise train.start_secs."
)
_RAISE_STALL = "If a single step can take that long, raise train.stall_secs."


@unique  # equal rows would be one member
class Fault(Enum):
    """Everything that can go wrong with a worker or with its group."""

    # What an exit code says.
    ERROR = Row("ended with exit code {code}", _LOOK_AT_LOG, retryable=False)
    PREEMPTED = Row("was preempted by SIGTERM (exit code {code})", _RESUMES, retryable=True)
    LOST_PEER = Row(
        "lost another worker (exit code {code})",
        f"Look at the logs of the other workers. {_RESUMES}",
        retryable=True,
        blame=Blame.BYSTANDER,
    )
    NOT_STARTED = Row(
        "timed out waiting for the other workers (exit code {code})",
        _RAISE_START,
        retryable=False,
        blame=Blame.TIMED_OUT,
    )
    STALLED = Row(
        "finished nothing for too long (exit code {code})",
        _RAISE_STALL,
        retryable=True,
        blame=Blame.TIMED_OUT,
    )
    SIGNAL = Row("was killed by signal {signal}", _RESUMES, retryable=True)
    KILLED = Row(
        "was killed by signal {signal}",
        "If memory ran out: give the workers more memory, run fewer of them on one machine, or "
        "lower train.global_batch_size.",
        retryable=True,
    )
    ABORTED = Row(
        "was killed by signal {signal}", _LOOK_AT_LOG, retryable=True, blame=Blame.ABORTED
    )

    # What only some launchers can see.
    OUT_OF_MEMORY = Row(
        "ran out of memory",
        "Give the workers more memory, or lower train.global_batch_size.",
        retryable=False,
    )
    LOST = Row("was terminated by the cluster", _RESUMES, retryable=True)
    SIDECAR_FAILED = Row(
        "ended well, but its pod failed",
        "Look at that container's log, or turn off its injection for these pods.",
        retryable=True,
    )
    STOPPED = Row(
        "is stopped (SIGSTOP)", "Find out what stops processes on this machine.", retryable=True
    )
    UNRESPONSIVE = Row(
        "has given no sign of life for {secs:.0f} s",
        _RAISE_STALL,
        retryable=True,
        blame=Blame.TIMED_OUT,
    )

    # A worker that never ran.
    NOT_UP = Row("has not come up within {secs:g} s", _RAISE_START, retryable=False)
    PENDING = Row(
        "has not started within {secs:g} s",
        "Check that a node has what it asks for; if one is still to come, raise pending_secs.",
        retryable=False,
    )
    UNRECOVERABLE = Row(
        "cannot start",
        "Check cluster.image, and the secrets and claims that the worker mounts.",
        retryable=False,
    )

    # The whole group.
    NO_PODS = Row(
        "has no pods after {secs:g} s",
        "Look at the job's events.",
        retryable=False,
    )
    VANISHED = Row(
        "failed without a pod that did", "Check whether a node was lost.", retryable=True
    )
    DELETED = Row("was deleted", "If that was a mistake, run it again.", retryable=False)
    DEADLINE = Row(
        "has not ended within {secs:g} s, its deadline",
        "What was finished is kept: run it again, with a later deadline if need be.",
        retryable=False,
    )


_BY_EXIT_CODE = {
    exit_codes.PREEMPTED: Fault.PREEMPTED,
    exit_codes.LOST_PEER: Fault.LOST_PEER,
    exit_codes.NOT_STARTED: Fault.NOT_STARTED,
    exit_codes.STALLED: Fault.STALLED,
    0: Fault.SIDECAR_FAILED,
    -signal.SIGKILL: Fault.KILLED,
    -signal.SIGABRT: Fault.ABORTED,
}

JOB = "the job"
"""Who is named where no single worker is to blame."""


@dataclass(frozen=True)
class Ending:
    """How one worker failed, as its launcher saw it.

    Attributes:
      index: its number in the worker group; 0 is the chief.
      exit_code: of its process or container; -N or 128 + N for the end by signal N, None
        where it did not end by itself.
      at: when, in seconds since 1970; None if nobody knows: such an ending counts as the
        earliest.
      seen: what the launcher knows better than the exit code says.
      group_stopped: whether it was stopped after another worker had failed, or may have been.
    """

    index: int
    exit_code: int | None
    at: float | None = None
    seen: Fault | None = None
    group_stopped: bool = False

    @property
    def worker(self) -> str:
        """The worker's name in messages."""
        return worker_name(self.index)

    @property
    def fault(self) -> Fault:
        """The line of the table for this ending."""
        if self.seen:
            return self.seen
        if self.exit_code is None:
            return Fault.LOST
        code = _signed(self.exit_code)
        return _BY_EXIT_CODE.get(code, Fault.ERROR if code > 0 else Fault.SIGNAL)

    @property
    def blame(self) -> Blame:
        """How likely this worker is the cause."""
        return Blame.BYSTANDER if self.group_stopped else self.fault.value.blame


@dataclass(frozen=True)
class Failure:
    """How an attempt of a worker group failed.

    Attributes:
      worker: its name, or `JOB`.
      what: follows the name.
      to_do: what the user can do about it.
      retryable: whether another start of all workers may go well.
      exit_code: of that worker, if it has ended; as in `Ending`.
      where: where the worker ran, such as its pod; empty if it says nothing.
      log: the file of its log; empty where a file says nothing to the user.
      last_lines: the end of that log.
    """

    worker: str
    what: str
    to_do: str
    retryable: bool = False
    exit_code: int | None = None
    where: str = ""
    log: str = ""
    last_lines: tuple[str, ...] = ()

    def headline(self) -> str:
        """Who and what, in one phrase."""
        where = f" ({self.where})" if self.where else ""
        return f"{self.worker}{where} {self.what}"

    def after(self, restarts: int) -> "Failure":
        """The same, where so many restarts could not help."""
        if not self.retryable or not restarts:
            return self
        times = "1 restart" if restarts == 1 else f"{restarts} restarts"
        return replace(self, what=f"{self.what}, after {times} of all workers")


def culprit(endings: Iterable[Ending]) -> Ending | None:
    """The worker that most likely caused the others to fail; None without any."""
    return min(
        endings,
        key=lambda one: (one.blame, float("-inf") if one.at is None else one.at, one.index),
        default=None,
    )


def failure(
    fault: Fault,
    worker: str = JOB,
    exit_code: int | None = None,
    secs: float = 0.0,
    detail: str = "",
) -> Failure:
    """What the table says of a fault.

    Args:
      fault: its line.
      worker: who is named.
      exit_code: as in `Ending`.
      secs: the time limit that passed.
      detail: what the launcher or its platform says beside it.
    """
    row = fault.value
    what = row.what.format(code=exit_code, signal=_signal(exit_code), secs=secs)
    what = f"{what}: {detail}" if detail else what
    return Failure(worker, what, row.to_do, row.retryable, exit_code)


def restart_notice(headline: str, restart: int, max_restarts: int) -> str:
    """What a log says when all workers are started again."""
    return f"{headline}. Restarting all workers ({restart} of {max_restarts})."


def _signed(code: int) -> int:
    """The exit code, where that of an end by signal N is -N."""
    number = code - _FIRST_SIGNAL
    return -number if number in signal.valid_signals() else code


def _signal(exit_code: int | None) -> str:
    number = -_signed(exit_code or 0)
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:  # a real-time signal without a name, or no signal at all
        return str(number)
