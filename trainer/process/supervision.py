"""Supervises the work of a process that can lose its peers, or be preempted (SIGTERM).

Nothing is caught to go on: with several workers every failure ends the process, with a
code that says whether another start is worth it (`trainer.process.exit_codes`).
"""

import os
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from trainer.process import exit_codes, tf_config
from trainer.process.watchdog import STALL_SECS, START_SECS, Watchdog, exit_process

# What TensorFlow raises when a peer, or what stands between, is gone.
_PEER_ERRORS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class Preempted(SystemExit):
    """Ends this process because it was preempted. Its exit code says that a retry is worth it."""

    def __init__(self, message: str) -> None:
        super().__init__(exit_codes.PREEMPTED)
        self._message = message

    def __str__(self) -> str:
        return self._message


class _Supervision:
    """What is known in this process of a supervised piece of work."""

    def __init__(self, watchdog: Watchdog | None) -> None:
        self.watchdog = watchdog
        self.preemption_requested = False
        self.can_save = False
        self.before: Any = signal.SIG_DFL
        self.handles = False


_supervision: _Supervision | None = None


@contextmanager
def supervised(limits: Mapping[str, float]) -> Iterator[None]:
    """Supervises the work inside: as worker of a job of several, it ends with the process.

    Args:
      limits: `start_secs` and `stall_secs` for the watchdog, if they are not to be the usual
        ones. It is there only if there are several workers.
    """
    global _supervision
    addresses, own = tf_config.addresses(os.environ), tf_config.own_index(os.environ)
    watchdog = None
    if len(addresses) > 1:
        peers = {tf_config.worker_name(i): at for i, at in enumerate(addresses) if i != own}
        watchdog = Watchdog(
            limits.get("start_secs", START_SECS), limits.get("stall_secs", STALL_SECS), peers
        )
        watchdog.start()
    _supervision = _Supervision(watchdog)
    try:
        with _as_worker() if watchdog else _alone():
            yield
    finally:
        if watchdog:
            watchdog.stop()
        if _supervision.handles:
            signal.signal(signal.SIGTERM, _supervision.before)
        _supervision = None


@contextmanager
def _alone() -> Iterator[None]:
    yield


@contextmanager
def _as_worker() -> Iterator[None]:
    """Ends the process where it fails: its interpreter might wait for peers for ever."""
    try:
        yield
    except Preempted as error:
        exit_process(exit_codes.PREEMPTED, str(error))
    except _PEER_ERRORS as error:
        traceback.print_exc()
        reason = (error.message or type(error).__name__).splitlines()[0]
        exit_process(exit_codes.LOST_PEER, f"another worker is lost: {reason}")
    except BaseException as error:
        traceback.print_exc()
        exit_process(1, f"{type(error).__name__}: {error}")


def mark_started() -> None:
    """Call it once the strategy is made: all workers are connected.

    From now on SIGTERM is handled here; TensorFlow swallows it from the same moment on.
    """
    if _supervision is None:
        return
    if _supervision.watchdog:
        _supervision.watchdog.met()
    if threading.current_thread() is threading.main_thread():
        _supervision.before = signal.signal(signal.SIGTERM, _on_sigterm)
        _supervision.handles = True


def _on_sigterm(number: int, frame: Any) -> None:
    if _supervision is None:
        return
    _supervision.preemption_requested = True
    if not _supervision.can_save:
        raise Preempted("preempted (SIGTERM).")


def preemption_requested() -> bool:
    """Whether SIGTERM has come during `defer_preemption`."""
    return _supervision is not None and _supervision.preemption_requested


@contextmanager
def defer_preemption() -> Iterator[None]:
    """Leaves it to the work inside to ask `preemption_requested`, save and raise `Preempted`."""
    if _supervision is None:
        yield
        return
    _supervision.can_save = True
    try:
        yield
    finally:
        _supervision.can_save = False
    if _supervision.preemption_requested:
        raise Preempted("preempted (SIGTERM).")
