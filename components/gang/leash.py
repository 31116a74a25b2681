"""Runs a command on a leash: when whoever started it is gone, so is all that it started.

    python -m components.gang.leash FD COMMAND [ARGUMENT...]

FD is the read end of a pipe. The other end closes when the starting process ends, in
whatever way; then this process's group is killed, which is why it must lead one.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Ends as the command does: with its exit code, or by the same signal."""
    pipe, *command = arguments
    threading.Thread(target=_end_with, args=(int(pipe),), daemon=True).start()
    code = subprocess.call(command)
    if code < 0:
        os.kill(os.getpid(), -code)
    return code


def _end_with(pipe: int) -> None:
    os.read(pipe, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
