"""Runs a command that is killed, with all that it started, when its starter ends.

    python -m launchers.local.kill_with_parent FD COMMAND [ARGUMENT...]

FD is the read end of a pipe. The other end closes when the process that started this one
ends, in whatever way; then this process's group is killed, which is why it must lead one.

The lock of an output folder, if the environment names one, stays open here and in COMMAND:
the folder is free when the last process that may write there has ended.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

RUN_LOCK = "THAW_RUN_LOCK_FD"
"""Environment variable: file descriptor of the lock of the output folder."""


def main(arguments: Sequence[str]) -> int:
    """Ends as the command does: with its exit code, or by the same signal."""
    pipe, *command = arguments
    threading.Thread(target=_end_with, args=(int(pipe),), daemon=True).start()
    code = subprocess.call(command, pass_fds=inherited_lock())
    if code < 0:
        os.kill(os.getpid(), -code)
    return code


def inherited_lock() -> list[int]:
    """The file descriptor of the lock that this process holds; empty without one."""
    number = os.environ.get(RUN_LOCK)
    return [int(number)] if number else []


def _end_with(pipe: int) -> None:
    os.read(pipe, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
