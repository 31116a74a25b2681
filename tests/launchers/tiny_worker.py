"""A worker without TensorFlow, which does to itself what its request says.

    python tiny_worker.py REQUEST

The request is JSON: for each worker's name, what it does at each start, the last entry
for all later ones. It records what it did in files beside the request.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from trainer.process import exit_codes, progress, tf_config
from trainer.process.watchdog import Watchdog, exit_process

CHILD = Path(sys.argv[1]).with_name("child.pid")


def main() -> None:
    request = Path(sys.argv[1])
    name = tf_config.worker_name(tf_config.own_index(os.environ))
    starts = request.with_name(f"{name}.starts")
    number = len(starts.read_text().splitlines()) if starts.exists() else 0
    with open(starts, "a") as file:
        file.write(os.environ[tf_config.TF_CONFIG] + "\n")
    todo = json.loads(request.read_text()).get(name, ["work"])
    action, _, argument = todo[min(number, len(todo) - 1)].partition(" ")
    print(f"{name} does {action} {argument}", flush=True)
    ACTIONS[action](argument)


def come_up() -> Watchdog:
    watchdog = Watchdog(start_secs=60, stall_secs=60, peers={})
    watchdog.start()
    watchdog.met()
    return watchdog


def wait_for_the_others() -> None:
    """Waits until every worker has recorded as many starts as this one: on a busy machine the
    others might be ended before they have begun."""
    files = [
        Path(sys.argv[1]).with_name(f"{tf_config.worker_name(index)}.starts")
        for index in range(len(tf_config.addresses(os.environ)))
    ]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        starts = {len(one.read_text().splitlines()) if one.exists() else 0 for one in files}
        if len(starts) == 1:
            return
        time.sleep(0.02)


def work(secs: str) -> None:
    come_up()
    progress.report(1, 2, "epochs")
    time.sleep(float(secs or 0.3))


def end(code: str) -> None:
    come_up()
    wait_for_the_others()
    exit_process(int(code), "this is the last line")


def end_after_child(code: str) -> None:
    """Ends when another worker has done `start_child`."""
    while not CHILD.exists():
        time.sleep(0.05)
    end(code)


def send(number: str) -> None:
    come_up()
    wait_for_the_others()
    time.sleep(0.1)
    os.kill(os.getpid(), int(number))
    time.sleep(60)


def lose_peer(secs: str) -> None:
    """As TensorFlow does when another worker does not answer."""
    come_up()
    time.sleep(float(secs))
    exit_process(exit_codes.LOST_PEER, "no heartbeat of a peer")


def never_come_up(_: str) -> None:
    time.sleep(60)


def start_child(_: str) -> None:
    """Leaves a process behind that ignores what can be ignored."""
    come_up()
    ignore = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]"
    child = subprocess.Popen([sys.executable, "-c", f"{ignore}; time.sleep(60)"])
    CHILD.write_text(str(child.pid))
    time.sleep(60)


def bind(_: str) -> None:
    """Listens at its address, as TensorFlow's server does."""
    own = tf_config.addresses(os.environ)[tf_config.own_index(os.environ)]
    host, port = own.split(":")
    socket.create_server((host, int(port)))
    work("")


ACTIONS = {
    "work": work,
    "end": end,
    "end_after_child": end_after_child,
    "signal": send,
    "lose_peer": lose_peer,
    "never_come_up": never_come_up,
    "start_child": start_child,
    "bind": bind,
}

if __name__ == "__main__":
    signal.alarm(90)  # whatever a test does wrong
    main()
