"""One worker as a process of this machine: how it is started, watched and ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from launchers.local.kill_with_parent import inherited_lock
from launchers.worker_group import LAST_LINES
from trainer.process import exit_codes, progress, watchdog
from trainer.process import tf_config as tasks

_TAIL_BYTES = 32_768
_POLL_SECS = 0.02
_END_SECS = 5.0


@dataclass(frozen=True)
class Failure:
    """What went wrong with a worker.

    Attributes:
      worker: its name.
      what: goes on after the name.
      worth_another: whether it may go well the next time.
      rank: of several failures, the lowest caused the others.
      code: its exit code; negative for a signal, None while it runs.
      log: its log; `last_lines` are the end of it.
    """

    worker: str
    what: str
    worth_another: bool
    rank: int
    code: int | None
    log: Path
    last_lines: Sequence[str]


class WorkerProcess:
    """A worker that was started; made by `start_worker`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, pid: Path) -> None:
        """Args: the process on whose leash the worker is, its log, its file of signs of life."""
        self.name = name
        self._process = process
        self._log = log
        self._pid = pid
        self._beat: float | None = None
        self._beat_seen = time.monotonic()

    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs."""
        return self._process.poll()

    def silence(self, start_secs: float, stall_secs: float) -> Failure | None:
        """Its failure, if it should have given a sign of life since long."""
        if self.exit_code() is not None:
            return None
        quiet_secs = self._quiet_secs()
        if self._beat is None and quiet_secs > start_secs:
            what = f"has not come up within {start_secs:g} s{self._stopped_note()}"
            return self.failure(what, worth_another=False, code=exit_codes.NOT_STARTED)
        # While it waits for the others its threads cannot run.
        if self._beat is not None and quiet_secs > max(start_secs, stall_secs):
            what = f"has given no sign of life for {quiet_secs:.0f} s{self._stopped_note()}"
            return self.failure(what, worth_another=True, code=exit_codes.STALLED)
        return None

    def fault(self) -> Failure | None:
        """Its failure, if it is ended other than well, or is stopped."""
        code = self.exit_code()
        if code is None:
            return (
                self.failure("is stopped (SIGSTOP)", worth_another=True, code=exit_codes.STALLED)
                if self._is_stopped()
                else None
            )
        if code == 0:
            return None
        again = code < 0 or code in exit_codes.TRANSIENT
        return self.failure(_ending(code), again, _rank(code), code)

    def failure(
        self, what: str, worth_another: bool, rank: int = 0, code: int | None = None
    ) -> Failure:
        """A failure of this worker, with its log as it is now."""
        lines = _last_lines(self._log)
        return Failure(self.name, what, worth_another, rank, code, self._log, lines)

    def end(self) -> None:
        """Kills it with all that it has started, stopped or not."""
        family = self._family()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait()
        until = time.monotonic() + _END_SECS
        while any(_runs(one) for one in family) and time.monotonic() < until:
            time.sleep(_POLL_SECS)
        self._pid.unlink(missing_ok=True)

    def _family(self) -> list[psutil.Process]:
        """The leash and all that is on it."""
        with suppress(psutil.NoSuchProcess):
            leash = psutil.Process(self._process.pid)
            return [leash, *leash.children(recursive=True)]
        return []

    def _quiet_secs(self) -> float:
        """Since its last sign of life, or since its start if there was none."""
        try:
            beat = self._pid.stat().st_mtime
        except FileNotFoundError:
            beat = None
        if beat != self._beat:
            # By our own clock: the file's may be set meanwhile, or the machine sleep.
            self._beat, self._beat_seen = beat, time.monotonic()
        return time.monotonic() - self._beat_seen

    def _is_stopped(self) -> bool:
        return any(_status(one) == psutil.STATUS_STOPPED for one in self._family())

    def _stopped_note(self) -> str:
        return ": it is stopped (SIGSTOP)" if self._is_stopped() else ""


@contextmanager
def start_worker(
    name: str, command: Sequence[str], log_dir: Path, tf_config: str, reports: bool
) -> Iterator[WorkerProcess]:
    """Starts a worker; it is ended on leaving, and if this process ends in whatever way.

    Args:
      name: of the worker; names its files too.
      command: what it runs.
      log_dir: for its log, which goes on over restarts, and its file of signs of life.
      tf_config: its `TF_CONFIG`.
      reports: whether it tells whoever watches the run how far it is.
    """
    stem = name.replace(" ", "-")
    log, pid = log_dir / f"{stem}.log", log_dir / f"{stem}.pid"
    pid.unlink(missing_ok=True)
    environment = {
        **os.environ,
        tasks.TF_CONFIG: tf_config,
        watchdog.BEAT_FILE: str(pid),
        "PYTHONUNBUFFERED": "1",
    }
    if not reports:
        environment.pop(progress.EVENTS_FILE, None)
    read_end, write_end = os.pipe()
    try:
        worker = WorkerProcess(name, _on_leash(command, read_end, log, environment), log, pid)
        try:
            yield worker
        finally:
            worker.end()
    finally:
        os.close(write_end)


def _on_leash(
    command: Sequence[str], read_end: int, log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Starts `launchers.local.kill_with_parent`, which takes over the end of the pipe."""
    try:
        with open(log, "ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "launchers.local.kill_with_parent", str(read_end), *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[read_end, *inherited_lock()],
                env=environment,
            )
    finally:
        os.close(read_end)


def _status(process: psutil.Process) -> str | None:
    with suppress(psutil.NoSuchProcess):
        return process.status()
    return None


def _runs(process: psutil.Process) -> bool:
    return _status(process) not in (None, psutil.STATUS_ZOMBIE)


def _ending(code: int) -> str:
    meanings = {
        exit_codes.PREEMPTED: "was told to leave (SIGTERM)",
        exit_codes.LOST_PEER: "lost another worker",
        exit_codes.NOT_STARTED: "waited in vain for the others to come up",
        exit_codes.STALLED: "finished nothing for too long",
    }
    if code < 0:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    return meanings.get(code, f"ended with exit code {code}")


def _rank(code: int) -> int:
    """Later in this order are those that only suffer from another's failure."""
    order: list[tuple[int, ...]] = [
        # TensorFlow itself may abort where a peer is lost.
        (-signal.SIGABRT,),
        (exit_codes.STALLED, exit_codes.NOT_STARTED),
        (exit_codes.LOST_PEER,),
    ]
    return next((rank for rank, codes in enumerate(order, 1) if code in codes), 0)


def _last_lines(log: Path) -> list[str]:
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-LAST_LINES:]
