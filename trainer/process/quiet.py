"""Keeps libraries' chatter off the screen."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Silence:
    """Standard error belongs to the whole process: blocks that overlap share one silence."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._kept = -1

    def enter(self) -> None:
        with self._lock:
            self._blocks += 1
            if self._blocks == 1:
                sys.stderr.flush()
                self._kept = os.dup(2)
                with open(os.devnull, "w") as nothing:
                    os.dup2(nothing.fileno(), 2)

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0:
                os.dup2(self._kept, 2)
                os.close(self._kept)


_silence = _Silence()


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drops what native code writes to stderr: TensorFlow greets there, whatever its log level.

    Threads may use it at once: stderr is back when the last of them has left.
    """
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()
