"""Ends a worker that waits for too long: TensorFlow waits an hour for a peer, in silence.

Each worker watches itself, so that it works on any cluster. Where somebody on the same
machine watches too, the file that `THAW_BEAT_FILE` names holds this process's id, and its
age says when the process last ran: a stopped process can report nothing itself.
"""

import faulthandler
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

from trainer import exit_codes

BEAT_FILE = "THAW_BEAT_FILE"

# A node may have to be added to the cluster first; the first step compiles the graph.
START_SECS = 600.0
STALL_SECS = 600.0

_ANSWER_SECS = 2.0
_MAX_TICK_SECS = 1.0


_current: "Watchdog | None" = None


def beat() -> None:
    """Says that something was finished, to the watchdog of this process, if it has one."""
    if _current:
        _current.beat()


class Watchdog:
    """A thread that ends this process when nothing was finished for too long.

    Time in which the process itself could not run, being stopped, does not count.
    """

    def __init__(self, start_secs: float, stall_secs: float, peers: Mapping[str, str]) -> None:
        """Nothing is watched before `start`.

        Args:
          start_secs: until `met` is called.
          stall_secs: between two calls of `beat`, from then on.
          peers: addresses of the other workers, by the name that messages give them.
        """
        self._limits = {False: start_secs, True: stall_secs}
        self._peers = dict(peers)
        self._met = False
        self._idle_secs = 0.0
        self._tick_secs = min(_MAX_TICK_SECS, start_secs / 10, stall_secs / 10)
        self._ended = threading.Event()

    def start(self) -> None:
        """Begins to watch, until `stop`."""
        global _current
        _current = self
        path = os.environ.get(BEAT_FILE)
        if path:
            with open(path, "w") as file:
                file.write(str(os.getpid()))
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Ends the watch."""
        global _current
        _current = None
        self._ended.set()

    def met(self) -> None:
        """Says that all workers have come up."""
        self._met = True
        self.beat()

    def beat(self) -> None:
        """Says that something was finished."""
        self._idle_secs = 0.0

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(self._tick_secs):
            now = time.monotonic()
            self._idle_secs += min(now - last, 2 * self._tick_secs)
            last = now
            _sign_of_life()
            if self._idle_secs > self._limits[self._met]:
                self._give_up()

    def _give_up(self) -> NoReturn:
        absent = [f"{name} ({at})" for name, at in self._peers.items() if not _answers(at)]
        secs = self._limits[self._met]
        if self._met:
            faulthandler.dump_traceback(all_threads=True)
            reason = f"nothing was finished for {secs:g} s"
        else:
            reason = f"the workers have not all come up within {secs:g} s"
        who = f"no answer from {', '.join(absent)}" if absent else "all others can be reached"
        leave(exit_codes.STALLED if self._met else exit_codes.NOT_STARTED, f"{reason}: {who}.")


def _answers(address: str) -> bool:
    """Whether somebody listens there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECS).close()
    except OSError:
        return False
    return True


def _sign_of_life() -> None:
    path = os.environ.get(BEAT_FILE)
    if path:
        with suppress(OSError):
            os.utime(path)


def leave(code: int, message: str) -> NoReturn:
    """Ends this process at once: its other threads may wait for a peer for ever."""
    print(message, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
