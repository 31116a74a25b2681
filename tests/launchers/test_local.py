"""The local launcher, with real processes that do no TensorFlow."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest

from launchers.failures import Failure
from launchers.local import launcher as local
from launchers.registry import make_launcher, read_settings
from launchers.worker_group import Limits, WorkerGroup, WorkerGroupFailed
from tests.launchers.processes import lives, living, wait_until
from trainer.errors import ThawError
from trainer.process import exit_codes

TINY = str(Path(__file__).with_name("tiny_worker.py"))


@pytest.fixture
def request_file(tmp_path) -> Path:
    return tmp_path / "request.json"


def run(request_file: Path, workers: int = 3, limits: Limits | None = None, **todo: str) -> None:
    """Runs a worker group of which each worker does `todo`, for each of its starts."""
    actions = {name.replace("_", " "): done.split(", ") for name, done in todo.items()}
    request_file.write_text(json.dumps(actions))
    launcher = make_launcher(read_settings({"kind": "local", "command": [sys.executable, TINY]}))
    logs = str(request_file.with_name("logs"))
    launcher.run(WorkerGroup("birds-fit", str(request_file), workers, logs, limits or Limits()))


def starts(request_file: Path, worker: str) -> list[dict]:
    """`TF_CONFIG` of each start of a worker."""
    lines = request_file.with_name(f"{worker}.starts").read_text().splitlines()
    return [json.loads(line) for line in lines]


def log(request_file: Path, name: str) -> str:
    return (request_file.with_name("logs") / f"{name}.log").read_text()


@pytest.fixture(autouse=True)
def nothing_is_left_running(request_file):
    yield
    assert living(str(request_file)) == []
    assert not list(request_file.parent.glob("logs/*.pid"))


def test_each_worker_knows_its_place_and_has_a_log_of_its_own(request_file):
    run(request_file)

    configs = [starts(request_file, name)[0] for name in ("chief", "worker 1", "worker 2")]
    assert [config["task"] for config in configs] == [
        {"type": "chief", "index": 0},
        {"type": "worker", "index": 0},
        {"type": "worker", "index": 1},
    ]
    assert configs[0]["cluster"] == configs[1]["cluster"] == configs[2]["cluster"]
    assert [len(configs[0]["cluster"][kind]) for kind in ("chief", "worker")] == [1, 2]
    assert len({*configs[0]["cluster"]["chief"], *configs[0]["cluster"]["worker"]}) == 3
    assert "worker 2 does work" in log(request_file, "worker-2")


def test_only_the_chief_reports_progress_to_whoever_watches(request_file, monkeypatch):
    events = request_file.with_name("events.jsonl")
    monkeypatch.setenv("THAW_EVENTS_FILE", str(events))
    monkeypatch.setenv("THAW_NODE", "HeadTrainer")

    run(request_file)

    (event,) = [json.loads(line) for line in events.read_text().splitlines()]
    assert (event["node"], event["done"], event["unit"]) == ("HeadTrainer", 1, "epochs")


def test_an_error_of_the_work_itself_ends_all_and_is_not_tried_again(request_file):
    started = time.monotonic()

    with pytest.raises(WorkerGroupFailed) as caught:
        run(request_file, worker_1="end_after_child 1", worker_2="start_child", chief="work 60")

    assert str(caught.value).startswith("birds-fit: worker 1 ended with exit code 1\n")
    assert "  | this is the last line" in str(caught.value)
    assert str(request_file.with_name("logs") / "worker-1.log") in str(caught.value)
    assert time.monotonic() - started < 15
    assert len(starts(request_file, "worker 1")) == 1
    assert not lives(child_of(request_file))


def child_of(request_file: Path) -> int:
    return int(request_file.with_name("child.pid").read_text())


@pytest.mark.parametrize("fault", ["signal 9", f"end {exit_codes.PREEMPTED}"])
@pytest.mark.parametrize("name", ["chief", "worker_1"])
def test_after_a_lost_worker_all_are_started_again(request_file, capsys, fault, name):
    run(request_file, **{name: f"{fault}, {fault}, work", "worker_2": "work 30, work 30, work"})

    assert [len(starts(request_file, w)) for w in ("chief", "worker 1", "worker 2")] == [3, 3, 3]
    assert "Restarting all workers (2 of 3)" in capsys.readouterr().out


def test_the_number_of_restarts_is_bounded(request_file):
    with pytest.raises(
        WorkerGroupFailed, match=r"worker 1 was killed by signal 9 .*after 2 restarts"
    ):
        run(request_file, limits=Limits(max_restarts=2), worker_1="signal 9", chief="work 30")

    assert len(starts(request_file, "worker 1")) == len(starts(request_file, "chief")) == 3


def test_a_worker_that_never_comes_up_is_named_in_time(request_file):
    started = time.monotonic()

    with pytest.raises(WorkerGroupFailed, match=r"worker 2 has not come up within 3 s\n"):
        run(request_file, limits=Limits(start_secs=3), worker_2="never_come_up", chief="work 60")

    assert time.monotonic() - started < 10


def test_a_stopped_worker_is_named_though_others_end_first(request_file):
    limits = Limits(max_restarts=0)

    with pytest.raises(WorkerGroupFailed, match=r"worker 1 is stopped \(SIGSTOP\)"):
        run(request_file, limits=limits, worker_1=f"signal {signal.SIGSTOP:d}", chief="lose_peer 1")


def test_a_stopped_worker_is_named_though_nobody_notices(request_file):
    limits = Limits(start_secs=3, stall_secs=3, max_restarts=0)

    with pytest.raises(
        WorkerGroupFailed, match=r"worker 1 has given no sign of life for 3 s: it is stop"
    ):
        run(request_file, limits=limits, worker_1=f"signal {signal.SIGSTOP:d}", chief="work 60")


def test_the_worker_at_fault_is_named_though_others_end_first(request_file):
    with pytest.raises(WorkerGroupFailed, match="worker 2 ended with exit code 3"):
        run(request_file, chief="lose_peer 0", worker_1="lose_peer 0", worker_2="end 3")


def test_the_whole_job_has_a_deadline(request_file):
    with pytest.raises(WorkerGroupFailed, match="the job has not ended within 3 s, its deadline"):
        run(request_file, limits=Limits(deadline_secs=3), chief="work 60")


def test_a_port_that_was_taken_meanwhile_is_no_failure(request_file, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        choose = iter([[taken.getsockname()[1], 1], local.free_ports(2)])
        monkeypatch.setattr(local, "free_ports", lambda count: next(choose))

        run(request_file, 2, Limits(max_restarts=0), chief="bind", worker_1="work 1")

    assert "Address already in use" in log(request_file, "chief")
    assert len(starts(request_file, "chief")) == 2


def test_free_ports_are_different_and_free():
    with socket.create_server(("127.0.0.1", local.free_ports(1)[0])):
        found = local.free_ports(200)

    assert len(set(found)) == 200
    for port in found[:20]:
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_process_that_launched(request_file, number):
    code = (
        "import sys; from pathlib import Path; from tests.launchers.test_local import run;"
        "run(Path(sys.argv[1]), chief='work 60', worker_1='start_child', worker_2='signal 19')"
    )
    launching = subprocess.Popen([sys.executable, "-c", code, str(request_file)])
    pid_file = request_file.with_name("child.pid")
    wait_until(lambda: pid_file.exists() and pid_file.read_text())
    child = child_of(request_file)
    assert lives(child)

    os.kill(launching.pid, number)
    launching.wait()

    wait_until(lambda: not living(str(request_file)) and not lives(child))
    for file in request_file.parent.glob("logs/*.pid"):
        file.unlink()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start_secs": 0}, "start_secs must be more than 0"),
        ({"stall_secs": -1}, "stall_secs must be more than 0"),
        ({"max_restarts": -1}, "max_restarts must not be negative"),
    ],
)
def test_limits_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Limits(**values)


def test_a_failures_message_ends_with_the_last_lines_of_a_long_log():
    lines = tuple(f"{number} {'x' * 500}" for number in range(30))

    failure = Failure("worker 1", "ended", "Look there.", last_lines=lines)
    message = str(WorkerGroupFailed("birds-fit", failure))

    shown = message.splitlines()[3:]
    assert [line.split()[1] for line in shown] == [str(number) for number in range(15, 30)]
    assert {len(line) for line in shown} == {len("  | ") + 200 + len("…")}


def test_a_failures_message_quotes_what_the_user_should_read_once():
    error = ThawError("a record is damaged.", where="out/a.gz", to_do="Delete it.")
    lines = tuple("".join(traceback.format_exception(error)).splitlines())

    failure = Failure("worker 1", "ended", "Look there.", last_lines=lines)
    message = str(WorkerGroupFailed("birds-fit", failure))

    assert message.splitlines()[-2:] == [
        "  | trainer.errors.ThawError: out/a.gz: a record is damaged.",
        "  |   Delete it.",
    ]


def test_an_unknown_launcher_is_refused():
    with pytest.raises(ThawError, match="'vertex' is not known: local or kubernetes"):
        read_settings({"kind": "vertex"})


def test_an_unknown_setting_of_the_local_launcher_is_refused():
    with pytest.raises(ThawError, match=r"(?s)LocalSettings cannot be.*comand: Extra .*: comma"):
        read_settings({"kind": "local", "comand": ["true"]})
