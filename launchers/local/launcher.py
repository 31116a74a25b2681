"""A worker group on this machine: one process a worker, which talk over the loopback interface.

Whatever happens to a worker, all are ended and started again, at most `max_restarts`
times: TensorFlow cannot take a worker back into a job that goes on.
"""

import random
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from launchers.local.worker_process import Failure, WorkerProcess, start_worker
from launchers.worker_group import WorkerGroup, WorkerGroupFailed
from trainer.process import exit_codes
from trainer.process.tf_config import tf_config, worker_name

_POLL_SECS = 0.1
# A worker that lost a peer ends before the peer's own end is seen, where that hangs.
_SETTLE_SECS = 2.0

_PORT_ATTEMPTS = 4
_PORT_TAKEN = ("Address already in use", "Could not start gRPC server")
# Below what Linux gives to outgoing connections, so that none of those takes one meanwhile.
_PORTS = range(20_000, 32_000)


@dataclass(frozen=True)
class LocalLauncher:
    """Runs worker groups as processes of this machine.

    Attributes:
      command: what every worker runs, without the request's URI, which comes last.
    """

    command: Sequence[str] = (sys.executable, "-m", "launchers.worker")

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
            if not failure.worth_another or restarts == group.limits.max_restarts:
                raise _failed(group, failure, restarts)
            restarts += 1
            print(
                f"{group.name}: {failure.worker} {failure.what}. All workers are started again "
                f"({restarts} of {group.limits.max_restarts}).",
                flush=True,
            )

    def _attempt(self, group: WorkerGroup, deadline: float) -> Failure | None:
        """Runs all workers once. None of them is left when it returns or raises."""
        addresses = [f"127.0.0.1:{port}" for port in free_ports(group.num_workers)]
        with ExitStack() as stack:
            workers = [
                stack.enter_context(
                    start_worker(
                        worker_name(index),
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
            what = f"had not finished when the {group.limits.deadline_secs:g} s for all were over"
            return worker.failure(what, worth_another=False)
        time.sleep(_POLL_SECS)


def _settled(workers: Sequence[WorkerProcess]) -> Failure:
    """The failure that caused the others, of those that show within a moment."""
    until = time.monotonic() + _SETTLE_SECS
    while True:
        found = sorted(
            (failure for failure in (worker.fault() for worker in workers) if failure),
            key=lambda failure: failure.rank,
        )
        if found[0].rank == 0 or time.monotonic() > until:
            return found[0]
        time.sleep(_POLL_SECS)


def _port_taken(failure: Failure) -> bool:
    """Whether another program took a port between our choice and the worker's start."""
    text = "\n".join(failure.last_lines)
    return failure.code == 1 and any(words in text for words in _PORT_TAKEN)


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


def _failed(group: WorkerGroup, failure: Failure, restarts: int) -> WorkerGroupFailed:
    if failure.worth_another:
        failure = replace(failure, what=f"{failure.what}, after {restarts} restarts of all workers")
    return WorkerGroupFailed(
        group.name, failure.worker, f"{failure.what}.", _to_do(failure), failure.last_lines
    )


def _to_do(failure: Failure) -> str:
    advice = {
        exit_codes.NOT_STARTED: "Look there for what kept it; a slow start needs more start_secs.",
        exit_codes.STALLED: "A step that takes longer, being slow, needs more stall_secs.",
        -9: "If memory ran out: fewer workers on this machine, or a smaller batch.",
    }
    return " ".join([f"Its log is {failure.log}.", advice.get(failure.code or 0, "")]).strip()
