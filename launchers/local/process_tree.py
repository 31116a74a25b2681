"""Ends processes together with those that they have started."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

_POLL_SECS = 0.02
_KILL_SECS = 5.0


def end_processes(find: Callable[[], Iterable[psutil.Process]], grace_secs: float) -> None:
    """Asks processes to end, waits, and kills those that still run.

    Example:
      >>> end_processes(lambda: group_of(child.pid), grace_secs=4.0)

    Args:
      find: the processes. It is called again and again, because they may start others; those
        that have ended do not matter.
      grace_secs: seconds between SIGTERM and SIGKILL; 0: SIGKILL at once.
    """
    if grace_secs:
        _send(signal.SIGTERM, _running(find()))
        until = time.monotonic() + grace_secs
        while _running(find()) and time.monotonic() < until:
            time.sleep(_POLL_SECS)
    until = time.monotonic() + _KILL_SECS
    while (left := _running(find())) and time.monotonic() < until:
        _send(signal.SIGKILL, left)
        time.sleep(_POLL_SECS)


def family_of(pid: int) -> list[psutil.Process]:
    """A process, and all that it has started and those in turn; empty if it is gone."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def group_of(leader: int) -> list[psutil.Process]:
    """The members of a process group, those included whose parents have ended."""
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if os.getpgid(pid) == leader:
                found.append(psutil.Process(pid))
    return found


def status_of(process: psutil.Process) -> str | None:
    """Its state, as psutil names it; None if it is gone."""
    with suppress(psutil.NoSuchProcess):
        return process.status()
    return None


def _running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if status_of(one) not in (None, psutil.STATUS_ZOMBIE)]


def _send(number: int, processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
