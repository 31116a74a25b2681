"""Starts a local run as a child process, watches it, and ends it cleanly."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from launchers.local import kill_with_parent, process_tree
from pipeline import events
from pipeline.config.schema import Config
from pipeline.events import Event
from trainer.errors import ThawError

_POLL_SECS = 0.1
_GRACE_SECS = 4.0
# What is left of a run whose `thaw run` was killed ends within moments.
_LEFT_OVER_SECS = 30.0


class AlreadyRunning(ThawError):
    """Another run is writing to the same output folder."""


@dataclass(frozen=True)
class RunFiles:
    """Where one run's records are: `run.log` holds what no node's own log does."""

    directory: Path

    @property
    def events(self) -> Path:
        """JSON lines; see `pipeline.events`."""
        return self.directory / "events.jsonl"

    @property
    def log(self) -> Path:
        """Output of the process that runs the nodes."""
        return self.directory / "run.log"

    @property
    def config(self) -> Path:
        """The effective config, as JSON."""
        return self.directory / "config.json"


def new_run(config: Config, output_dir: Path) -> RunFiles:
    """Makes the folder of a new run, `logs/<date>-<time>`, and puts the config into it."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    directory = output_dir / "logs" / stamp
    number = 1
    while directory.exists():
        number += 1
        directory = output_dir / "logs" / f"{stamp}-{number}"
    directory.mkdir(parents=True)
    files = RunFiles(directory)
    files.config.write_text(config.model_dump_json(indent=2))
    files.events.touch()
    return files


def local_command(files: RunFiles, output_dir: Path, inspection: Path | None = None) -> list[str]:
    """The child that runs the nodes on this machine; up to the trunk to write an inspection."""
    wanted = [files.config, output_dir, files.directory, *([inspection] if inspection else [])]
    paths = [str(path) for path in wanted]
    return [sys.executable, "-m", "pipeline.local.process", *paths]


@contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """Makes SIGTERM, and a closed terminal, end this process the way Ctrl-C does, so that
    its children end with it.
    """

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def only_run(output_dir: Path) -> Iterator[int]:
    """Keeps a second run out of the same output folder.

    Yields:
      The file descriptor of the lock, for `watch`: the folder stays locked until every
      process that has it is gone.

    Raises:
      AlreadyRunning: if there is one.
    """
    with open(output_dir / ".lock", "a+") as lock:
        _take(lock, output_dir)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock.fileno()


def _take(lock: IO[str], output_dir: Path) -> None:
    """Waits only where the run that holds the lock has lost its `thaw run`."""
    until = time.monotonic() + _LEFT_OVER_SECS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if _holder_lives(lock) or time.monotonic() > until:
                raise AlreadyRunning(
                    "another run is writing here.",
                    where=str(output_dir),
                    to_do="Wait for it, or give another --output.",
                ) from error
        time.sleep(_POLL_SECS)


def _holder_lives(lock: IO[str]) -> bool:
    lock.seek(0)
    number = lock.read().strip()
    return not number.isdecimal() or psutil.pid_exists(int(number))


def watch(
    command: Sequence[str],
    files: RunFiles,
    on_event: Callable[[Event], None],
    lock: int,
) -> int:
    """Runs a child to its end, passing on its events.

    The child gets a session of its own, so that all its processes can be ended at once:
    on Ctrl-C, on any other exception here, and when this process ends, in whatever way.

    Args:
      command: the child. Its output is appended to `files.log`.
      files: the child writes `files.events`.
      on_event: called with each event, in order.
      lock: from `only_run`; the child's processes hold it too.

    Returns:
      The child's exit code; negative for the signal that ended it.
    """
    read_end, write_end = os.pipe()
    try:
        return _watch(_start(command, files, read_end, lock), files, on_event)
    finally:
        os.close(write_end)


def _start(
    command: Sequence[str], files: RunFiles, read_end: int, lock: int
) -> subprocess.Popen[bytes]:
    """Starts the child so that it is killed when the other end of the pipe closes."""
    try:
        with open(files.log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", kill_with_parent.__name__, str(read_end), *command],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[read_end, lock],
                env={
                    **os.environ,
                    kill_with_parent.RUN_LOCK: str(lock),
                    "TF_CPP_MIN_LOG_LEVEL": "1",
                    "PYTHONUNBUFFERED": "1",
                    # What lies in the current folder is not ours, whatever its name.
                    "PYTHONSAFEPATH": "1",
                },
            )
    finally:
        os.close(read_end)


def _watch(
    child: subprocess.Popen[bytes], files: RunFiles, on_event: Callable[[Event], None]
) -> int:
    try:
        with open(files.events, encoding="utf-8") as file:
            while child.poll() is None:
                _hand_on(file, on_event)
                time.sleep(_POLL_SECS)
            _hand_on(file, on_event)
        return child.returncode
    finally:
        end_group(child)


def _hand_on(file: IO[str], on_event: Callable[[Event], None]) -> None:
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith("\n"):
            file.seek(start)  # the rest of the line is still being written
            return
        on_event(events.read(line))


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Ends every process of the child's session: asks, waits, then kills.

    Further interrupts are ignored meanwhile: giving up half-way would leave processes behind.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        process_tree.end_processes(lambda: process_tree.group_of(child.pid), _GRACE_SECS)
        child.poll()
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
