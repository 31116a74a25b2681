"""One worker as a process of this machine: how it is started, watched and ended."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from launchers import failures
from launchers.failures import Ending, Failure, Fault
from launchers.local.kill_with_parent import inherited_lock
from launchers.local.process_tree import end_processes, family_of, group_of, status_of
from launchers.worker_group import LAST_LINES
from trainer.process import progress, watchdog
from trainer.process import tf_config as tasks

_TAIL_BYTES = 32_768


class WorkerProcess:
    """A worker that was started; made by `start_worker`."""

    def __init__(self, index: int, process: subprocess.Popen[bytes], log: Path, pid: Path) -> None:
        """Args: its number, the process that started it, its log, its heartbeat file."""
        self.index = index
        self._process = process
        self._log = log
        self._pid = pid
        self._ended_at: float | None = None
        self._heartbeat: float | None = None
        self._heartbeat_seen = time.monotonic()

    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs."""
        code = self._process.poll()
        if code is not None and self._ended_at is None:
            self._ended_at = time.time()
        return code

    def silence(self, start_secs: float, stall_secs: float) -> Failure | None:
        """Its failure, if it should have given a sign of life long ago."""
        if self.exit_code() is not None:
            return None
        quiet_secs = self._quiet_secs()
        if self._heartbeat is None and quiet_secs > start_secs:
            return self._silent(Fault.NOT_UP, start_secs)
        # While it waits for the others its threads cannot run.
        if self._heartbeat is not None and quiet_secs > max(start_secs, stall_secs):
            return self._silent(Fault.UNRESPONSIVE, quiet_secs)
        return None

    def ending(self) -> Ending | None:
        """How it ended, if not well; or that it is stopped."""
        code = self.exit_code()
        if code is None:
            stopped = self._is_stopped()
            return Ending(self.index, None, seen=Fault.STOPPED) if stopped else None
        return Ending(self.index, code, self._ended_at) if code else None

    def with_log(self, failure: Failure) -> Failure:
        """A failure together with this worker's log as it is now."""
        return replace(failure, log=str(self._log), last_lines=tuple(_last_lines(self._log)))

    def _silent(self, fault: Fault, secs: float) -> Failure:
        detail = "it is stopped (SIGSTOP)" if self._is_stopped() else ""
        name = tasks.worker_name(self.index)
        return self.with_log(failures.failure(fault, name, secs=secs, detail=detail))

    def end(self) -> None:
        """Kills it with all that it has started, stopped or not."""
        leader = self._process.pid
        family = family_of(leader)  # also those that have left the process group
        end_processes(lambda: {*family, *group_of(leader)}, grace_secs=0)
        self._process.wait()
        self._pid.unlink(missing_ok=True)

    def _quiet_secs(self) -> float:
        """Since its last sign of life, or since its start if there was none."""
        try:
            heartbeat = self._pid.stat().st_mtime
        except FileNotFoundError:
            heartbeat = None
        if heartbeat != self._heartbeat:
            # By our own clock: the file's may be set meanwhile, or the machine sleep.
            self._heartbeat, self._heartbeat_seen = heartbeat, time.monotonic()
        return time.monotonic() - self._heartbeat_seen

    def _is_stopped(self) -> bool:
        return any(status_of(one) == psutil.STATUS_STOPPED for one in family_of(self._process.pid))


@contextmanager
def start_worker(
    index: int, command: Sequence[str], log_dir: Path, tf_config: str, reports: bool
) -> Iterator[WorkerProcess]:
    """Starts a worker; it is ended on leaving, and if this process ends in whatever way.

    Args:
      index: its number in the worker group; names its files too.
      command: what it runs.
      log_dir: for its log, which continues over restarts, and its heartbeat file.
      tf_config: its `TF_CONFIG`.
      reports: whether it reports its progress to the run's view.
    """
    stem = tasks.worker_name(index).replace(" ", "-")
    log, pid = log_dir / f"{stem}.log", log_dir / f"{stem}.pid"
    pid.unlink(missing_ok=True)
    environment = {
        **os.environ,
        tasks.TF_CONFIG: tf_config,
        watchdog.HEARTBEAT_FILE: str(pid),
        "PYTHONUNBUFFERED": "1",
    }
    if not reports:
        environment.pop(progress.EVENTS_FILE, None)
    read_end, write_end = os.pipe()
    try:
        process = _start_with_parent(command, read_end, log, environment)
        worker = WorkerProcess(index, process, log, pid)
        try:
            yield worker
        finally:
            worker.end()
    finally:
        os.close(write_end)


def _start_with_parent(
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


def _last_lines(log: Path) -> list[str]:
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-LAST_LINES:]
