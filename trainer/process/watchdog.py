"""Ends a worker that waits for too long: TensorFlow waits an hour for a peer, in silence.

Each worker watches itself, so that it works on any cluster. Where somebody on the same
machine watches too, the file that `THAW_BEAT_FILE` names holds this process's id, and its
age says when the process last ran: a stopped process can report nothing itself.
"""

import ctypes
import faulthandler
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

from trainer.process import exit_codes, startup

HEARTBEAT_FILE = "THAW_BEAT_FILE"

# A node may have to be added to the cluster first; the first step compiles the graph.
START_SECS = 600.0
STALL_SECS = 600.0

_MAX_TICK_SECS = 1.0


_current: "Watchdog | None" = None


def heartbeat() -> None:
    """Says that something was finished, to the watchdog of this process, if it has one."""
    if _current:
        _current.heartbeat()


class Watchdog:
    """Ends this process when its start takes too long, or nothing was finished for too long.

    The start is watched by `trainer.process.startup`, the rest by a thread; time in which the
    process itself could not run, being stopped, does not count there.
    """

    def __init__(self, start_secs: float, stall_secs: float, peers: Mapping[str, str]) -> None:
        """Nothing is watched before `start`.

        Args:
          start_secs: until `met` is called.
          stall_secs: between two calls of `heartbeat`, from then on.
          peers: addresses of the other workers, by the name that messages give them.
        """
        self._start_secs = start_secs
        self._stall_secs = stall_secs
        self._peers = dict(peers)
        self._met = False
        self._idle_secs = 0.0
        self._tick_secs = min(_MAX_TICK_SECS, stall_secs / 10)
        self._ended = threading.Event()
        self._startup: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begins to watch, until `stop`."""
        global _current
        _current = self
        path = os.environ.get(HEARTBEAT_FILE)
        if path:
            with open(path, "w") as file:
                file.write(str(os.getpid()))
        exit_on_signal(exit_codes.NOT_STARTED)
        self._startup = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "trainer.process.startup",
                str(os.getpid()),
                str(self._start_secs),
            ]
            + [json.dumps(self._peers)],
            stdin=subprocess.PIPE,
        )
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Ends the watch."""
        global _current
        _current = None
        self._end_startup()
        self._ended.set()

    def met(self) -> None:
        """Says that all workers have come up."""
        self._end_startup()
        self.heartbeat()
        self._met = True

    def heartbeat(self) -> None:
        """Says that something was finished."""
        self._idle_secs = 0.0

    def _end_startup(self) -> None:
        if self._startup:
            self._startup.communicate()
            self._startup = None

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(self._tick_secs):
            now = time.monotonic()
            self._idle_secs += min(now - last, 2 * self._tick_secs)
            last = now
            _sign_of_life()
            if self._met and self._idle_secs > self._stall_secs:
                self._give_up()

    def _give_up(self) -> NoReturn:
        faulthandler.dump_traceback(all_threads=True)
        who = startup.unreachable_peers(self._peers)
        exit_process(exit_codes.STALLED, f"nothing was finished for {self._stall_secs:g} s: {who}.")


def exit_on_signal(number: int) -> None:
    """Makes a signal end this process with the exit code of the same number.

    Python's own handlers wait for the interpreter's lock; this is the C library's `_exit`,
    which takes the signal's number for the code.
    """
    if startup.can_exit_on_signal():
        libc = ctypes.CDLL(None)
        libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        libc.signal(number, ctypes.cast(libc._exit, ctypes.c_void_p))


def _sign_of_life() -> None:
    path = os.environ.get(HEARTBEAT_FILE)
    if path:
        with suppress(OSError):
            os.utime(path)


def exit_process(code: int, message: str) -> NoReturn:
    """Ends this process at once: its other threads may wait for a peer for ever."""
    print(message, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
