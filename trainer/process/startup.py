"""Ends a worker whose start-up takes too long, from outside: a process of its own.

    python -m trainer.process.startup PID SECS PEERS

TensorFlow holds the interpreter's lock while it waits for the others to come up, so no
thread of the worker can do it. Ends when its standard input does: when the worker says
that all have met, or is gone itself. PEERS is JSON, names to addresses.
"""

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

from trainer.process import exit_codes

_ANSWER_SECS = 2.0


def main(arguments: Sequence[str]) -> None:
    """Waits, and ends the worker if not all workers have started in time."""
    pid, secs, peers = arguments
    ended, _, _ = select.select([sys.stdin], [], [], float(secs))
    if ended:
        return
    who = unreachable_peers(json.loads(peers))
    print(f"the workers have not all come up within {float(secs):g} s: {who}.", file=sys.stderr)
    # `trainer.process.watchdog.exit_on_signal` makes this an exit with the code of that number.
    os.kill(int(pid), exit_codes.NOT_STARTED if can_exit_on_signal() else signal.SIGKILL)


def can_exit_on_signal() -> bool:
    """Whether this system has a signal of the number that is the exit code."""
    return hasattr(signal, "SIGRTMAX") and exit_codes.NOT_STARTED < signal.SIGRTMAX


def unreachable_peers(peers: Mapping[str, str]) -> str:
    """Says which of the peers, names to addresses, nobody listens for."""
    found = [f"{name} ({at})" for name, at in peers.items() if not _answers(at)]
    return f"no answer from {', '.join(found)}" if found else "all others can be reached"


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECS).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
