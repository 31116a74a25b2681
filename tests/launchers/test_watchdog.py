"""The watchdog inside a worker, in processes of its own: it ends the process it is in."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.launchers.processes import wait_until
from trainer.process import exit_codes, tf_config

PREPARE = """
import sys, time
from trainer.process.watchdog import Watchdog
peers = dict(zip(["chief", "worker 2"], sys.argv[1:]))
watchdog = Watchdog(start_secs=1.5, stall_secs=1.5, peers=peers)
watchdog.start()
"""


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def deaf() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def run(code: str, *peers: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PREPARE + code, *peers], capture_output=True, text=True, timeout=30
    )


def test_who_has_not_come_up_is_named(listening, deaf):
    ended = run("time.sleep(20)", listening, deaf)

    assert ended.returncode == exit_codes.NOT_STARTED
    last = ended.stderr.splitlines()[-1]
    assert last == (
        f"the workers have not all come up within 1.5 s: no answer from worker 2 ({deaf})."
    )


def test_a_stall_ends_the_process_and_shows_where_it_waited(listening):
    ended = run("watchdog.met(); time.sleep(20)", listening)

    assert ended.returncode == exit_codes.STALLED
    assert "most recent call first" in ended.stderr
    assert "nothing was finished for 1.5 s: all others can be reached." in ended.stderr


def test_who_makes_progress_slowly_is_left_alone(listening):
    ended = run(
        "watchdog.met()\n"
        "for _ in range(6): time.sleep(0.6); watchdog.heartbeat()\n"
        "watchdog.stop(); time.sleep(2)"
    )

    assert (ended.returncode, ended.stderr) == (0, "")


def test_time_in_which_the_process_was_stopped_does_not_count(tmp_path):
    code = "watchdog.met(); print(flush=True); time.sleep(0.2); watchdog.heartbeat(); time.sleep(1)"
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARE + code + "; watchdog.heartbeat(); time.sleep(0.5)"],
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()

    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(3)
    os.kill(process.pid, signal.SIGCONT)

    assert process.wait(10) == 0


def test_the_beat_file_holds_the_process_id_and_stays_fresh(tmp_path, monkeypatch):
    beat = tmp_path / "beat"
    monkeypatch.setenv("THAW_BEAT_FILE", str(beat))
    process = subprocess.Popen([sys.executable, "-c", PREPARE + "watchdog.met(); time.sleep(1.2)"])
    wait_until(beat.exists)
    first = beat.stat().st_mtime

    process.wait(20)

    assert beat.read_text() == str(process.pid)
    assert beat.stat().st_mtime - first > 0.5


@pytest.mark.parametrize(
    ("config", "index", "addresses"),
    [
        ('{"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:2"]}, %s}', 2, ["a:1", "b:1", "c:2"]),
        ('{"cluster": {"worker": ["b:1", "c:2"]}, %s}', 1, ["b:1", "c:2"]),
    ],
)
def test_a_task_knows_its_number_and_the_others(config, index, addresses):
    environ = {"TF_CONFIG": config % '"task": {"type": "worker", "index": 1}'}

    assert tf_config.own_index(environ) == index
    assert tf_config.addresses(environ) == addresses


def test_without_tf_config_there_is_one_task():
    assert (tf_config.own_index({}), tf_config.addresses({})) == (0, [])
