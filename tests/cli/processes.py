"""Watching processes in tests."""

import time
from collections.abc import Callable
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(fact: Callable[[], object], secs: float = 20) -> bool:
    """Whether a fact comes true in time."""
    deadline = time.monotonic() + secs
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
