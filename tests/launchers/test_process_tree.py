"""Processes that are ended: asked first, then killed, whatever they have started."""

import subprocess
import sys
import time

import psutil
import pytest

from launchers.local.process_tree import end_processes, family_of, group_of, status_of

# Starts a child in the same group and one in a session of its own; `deaf`: all ignore SIGTERM.
PARENT = """
import signal, subprocess, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
for own_session in (False, True):
    child = subprocess.Popen(sleep, stdout=subprocess.PIPE, start_new_session=own_session)
    child.stdout.readline()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def start():
    started = []

    def starts(*arguments: str) -> tuple[subprocess.Popen, list[psutil.Process]]:
        command = [sys.executable, "-c", PARENT, *arguments]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        parent.stdout.readline()
        family = family_of(parent.pid)
        started.extend(family)
        return parent, family

    yield starts
    for process in started:
        if status_of(process):
            process.kill()


def running(processes) -> list[int]:
    return [p.pid for p in processes if status_of(p) not in (None, psutil.STATUS_ZOMBIE)]


def test_a_group_is_asked_to_end_and_what_has_left_it_is_not(start):
    parent, family = start()
    (outside,) = (p.pid for p in family if p.pid not in {m.pid for m in group_of(parent.pid)})

    end_processes(lambda: group_of(parent.pid), grace_secs=30)

    assert parent.wait(10) == -15
    assert running(family) == [outside]


def test_what_does_not_end_when_asked_is_killed_after_the_grace_period(start):
    parent, family = start("deaf")
    started = time.monotonic()

    end_processes(lambda: family, grace_secs=0.5)

    assert time.monotonic() - started >= 0.5
    assert parent.wait(10) == -9
    assert running(family) == []


def test_without_a_grace_period_all_are_killed_at_once(start):
    parent, family = start()

    end_processes(lambda: family, grace_secs=0)

    assert parent.wait(10) == -9
    assert running(family) == []
