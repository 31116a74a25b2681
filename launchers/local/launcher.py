"""A worker group on this machine: one process a worker, which talk over the loopback interface.

When a worker fails, all are ended; `launchers.worker_group` says when they are started again.
"""

import random
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launchers import failures
from launchers.failures import Blame, Failure, Fault
from launchers.local.worker_process import WorkerProcess, start_worker
from launchers.settings import Settings
from launchers.worker_group import WorkerGroup, WorkerGroupFailed
from trainer.process.tf_config import tf_config

_POLL_SECS = 0.1
# A worker that lost a peer ends before the peer's own end is seen, where that hangs.
_SETTLE_SECS = 2.0

_PORT_ATTEMPTS = 4
_PORT_TAKEN = ("Address already in use", "Could not start gRPC server")
# Below what Linux gives to outgoing connections, so that none of those takes one meanwhile.
_PORTS = range(20_000, 32_000)


class LocalSettings(Settings):
    """How the workers of this machine are started."""

    command: tuple[str, ...] = (sys.executable, "-m", "launchers.worker")
    """What every worker runs, without the request's URI, which comes last."""

    kind: Literal["local"] = "local"
    """Says which settings these are."""


@dataclass(frozen=True)
class LocalLauncher:
    """Runs worker groups as processes of this machine.

    Attributes:
      command: as in `LocalSettings`.
    """

    command: Sequence[str] = LocalSettings().command

    def run(self, group: WorkerGroup) -> None:
        """As `Launcher.run`. Each worker's output goes to a file in `group.log_dir`."""
        Path(group.log_dir).mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + (group.limits.deadline_secs or float("inf"))
        restarts = ports = 0
        while True:
            failure = self._attempt(group, deadline)
            if failure is None:
                return
            if ports < _PORT_ATTEMPTS and _port_taken(failure):
                ports += 1
                continue
            if not group.limits.allow_restart(failure, restarts):
                raise WorkerGroupFailed(group.name, failure.after(restarts))
            restarts += 1
            notice = failures.restart_notice(
                failure.headline(), restarts, group.limits.max_restarts
            )
            print(f"{group.name}: {notice}", flush=True)

    def _attempt(self, group: WorkerGroup, deadline: float) -> Failure | None:
        """Runs all workers once. None of them is left when it returns or raises."""
        addresses = [f"127.0.0.1:{port}" for port in free_ports(group.num_workers)]
        with ExitStack() as stack:
            workers = [
                stack.enter_context(
                    start_worker(
                        index,
                        [*self.command, group.request_uri],
                        Path(group.log_dir),
                        tf_config(addresses, index),
                        reports=index == 0,
                    )
                )
                for index in range(group.num_workers)
            ]
            return _watch(group, workers, deadline)


def _watch(group: WorkerGroup, workers: Sequence[WorkerProcess], deadline: float) -> Failure | None:
    """Waits until all have ended well, or one has not; None if all have."""
    while True:
        codes = [worker.exit_code() for worker in workers]
        if all(code == 0 for code in codes):
            return None
        if any(codes):
            return _settled(workers)
        for worker in workers:
            failure = worker.silence(group.limits.start_secs, group.limits.stall_secs)
            if failure:
                return failure
        if time.monotonic() > deadline:
            worker = next(w for w in workers if w.exit_code() is None)
            late = failures.failure(Fault.DEADLINE, secs=group.limits.deadline_secs)
            return worker.with_log(late)
        time.sleep(_POLL_SECS)


def _settled(workers: Sequence[WorkerProcess]) -> Failure:
    """The failure that caused the others, of those that show within a moment."""
    until = time.monotonic() + _SETTLE_SECS
    while True:
        first = failures.culprit(filter(None, [worker.ending() for worker in workers]))
        assert first is not None  # the caller has seen one
        if first.blame == Blame.OWN or time.monotonic() > until:
            failure = failures.failure(first.fault, first.worker, first.exit_code)
            return workers[first.index].with_log(failure)
        time.sleep(_POLL_SECS)


def _port_taken(failure: Failure) -> bool:
    """Whether another program took a port between our choice and the worker's start."""
    text = "\n".join(failure.last_lines)
    return failure.exit_code == 1 and any(words in text for words in _PORT_TAKEN)


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback interface that nobody listens on now.

    Raises:
      OSError: if there are not so many.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            break
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    if len(found) < count:
        raise OSError(f"fewer than {count} free ports in {_PORTS.start}–{_PORTS.stop - 1}.")
    return found
