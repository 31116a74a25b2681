"""Signals to the Kubernetes launcher, and an API server that fails, cuts off and refuses."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launchers.kubernetes import api as kubernetes_api
from launchers.kubernetes.pod_log import PodLog
from launchers.kubernetes.settings import read_settings
from launchers.worker_group import WorkerGroupFailed
from tests.conftest import ROOT
from tests.launchers.kube_api import Fault, KubeApi
from tests.launchers.kube_runs import NAME, Running, created, group, jobs, settings, until, watches

LAUNCH = """
import json, sys
from launchers.registry import make_launcher, read_settings
from launchers.worker_group import WorkerGroup
settings, asked = json.loads(sys.argv[1])
make_launcher(read_settings(settings)).run(WorkerGroup(**asked))
"""

# A destructor runs while the launcher looks at its pods: what is raised there is lost.
LAUNCH_WITH_DESTRUCTOR = """
import pathlib, time
from launchers.kubernetes.attempt import Attempt
look = Attempt._workers
class Slow:
    def __del__(self):
        pathlib.Path("destructor").touch()
        time.sleep(600)
def slow_look(self):
    Attempt._workers = look
    Slow()
    return look(self)
Attempt._workers = slow_look
"""


@pytest.fixture
def launch(api, tmp_path):
    """Starts a launcher in a process of its own."""
    children = []

    def launches(program: str) -> subprocess.Popen:
        asked = {"name": NAME, "request_uri": "r", "num_workers": 2, "log_dir": str(tmp_path)}
        launcher_settings = json.dumps([settings(api.kubeconfig(tmp_path)), asked])
        child = subprocess.Popen(
            [sys.executable, "-c", program, launcher_settings],
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        children.append(child)
        return child

    yield launches
    for child in children:
        child.kill()
        child.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -2)])
def test_a_signal_deletes_the_job(api, cluster, launch, number, code):
    child = launch(LAUNCH)
    until(lambda: watches(api), 120)
    child.send_signal(number)

    assert child.wait(60) == code
    assert jobs(api) == []
    assert api.store.all("pods") == []


def test_a_signal_that_meets_a_destructor_deletes_the_job_too(api, cluster, launch, tmp_path):
    child = launch(LAUNCH_WITH_DESTRUCTOR + LAUNCH)
    until((tmp_path / "destructor").exists, 120)
    child.send_signal(signal.SIGTERM)

    assert child.wait(60) == 143
    assert jobs(api) == []


@pytest.mark.parametrize("status", [503, 429])
def test_passing_trouble_of_the_api_server_is_waited_out(api, cluster, start, status):
    api.faults += [
        Fault("GET", "/jobs$", status),
        Fault("GET", "/jobs/", status),
        Fault("POST", "/jobs$", status, times=2),
        Fault("POST", "/services$", status),
        Fault("GET", "/pods$", status),
    ]
    running = start()
    cluster.all_end_well()
    running.end()

    assert all(fault.times == 0 for fault in api.faults)
    assert len(created(api, "jobs")) == 1


def test_a_lost_answer_does_not_make_a_second_job(api, cluster, start):
    api.faults.append(Fault("POST", "/jobs$", status=0))
    running = start()
    cluster.all_end_well()
    running.end()

    assert sum(method == "POST" and "/jobs" in path for method, path in api.requests) == 2
    assert len(created(api, "jobs")) == 1


@pytest.mark.parametrize("trouble", ["cut", "gone", "fails"])
def test_a_watch_is_taken_up_again(api, cluster, start, trouble):
    running = start()
    if trouble == "cut":
        api.cut_watches_after = 0
    elif trouble == "gone":
        api.store.forgotten = 10**9
    else:
        api.faults.append(Fault("GET", "/jobs$", 503, times=3))
    cluster.runs(0)
    cluster.says(0, "one")
    until(lambda: watches(api) >= 3)
    api.store.forgotten = 0
    cluster.all_end_well()
    running.end()


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", "/jobs$", 403, "kubectl auth can-i create jobs -n birds"),
        ("GET", "/pods$", 403, "kubectl auth can-i list pods -n birds"),
        ("GET", "/jobs$", 401, "The token is not accepted"),
        ("POST", "/jobs$", 400, "the launcher's settings"),
        ("POST", "/jobs$", 422, "the launcher's settings"),
    ],
)
def test_a_refusal_says_what_is_missing(api, start, method, path, status, said):
    api.faults.append(Fault(method, path, status))

    with pytest.raises(
        WorkerGroupFailed, match=f"the launcher could not .*HTTP {status}"
    ) as caught:
        start(watch=False).end()

    assert said in str(caught.value)
    assert jobs(api) == []


def test_a_right_that_is_missing_later_leaves_nothing_running(api, cluster, start):
    api.faults.append(Fault("POST", "/services$", 403))

    with pytest.raises(WorkerGroupFailed, match="can-i create services"):
        start(watch=False).end()

    assert jobs(api) == []
    assert api.store.all("pods") == []


def test_a_namespace_that_is_not_there_is_named(api, start):
    with pytest.raises(WorkerGroupFailed, match="Is there a namespace eagles"):
        start(watch=False, namespace="eagles").end()


def test_a_server_that_does_not_answer_is_a_clear_error(tmp_path):
    with KubeApi() as server:
        launcher_settings = settings(server.kubeconfig(tmp_path), api_retry_secs=0.5)

    with pytest.raises(WorkerGroupFailed, match="Is the API server up"):
        Running(launcher_settings, group(tmp_path)).end()


def test_without_a_cluster_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    launcher_settings = settings(str(tmp_path / "none"))

    with pytest.raises(WorkerGroupFailed, match="no cluster is known here"):
        Running(launcher_settings, group(tmp_path)).end()


def test_a_log_that_was_cut_is_told_once(api, cluster, tmp_path):
    launcher_settings = settings(api.kubeconfig(tmp_path))
    del launcher_settings["kind"]
    lines: list[str] = []
    running = Running({**launcher_settings, "kind": "kubernetes"}, group(tmp_path / "elsewhere"))
    until(lambda: len(cluster.pods()) == 2)
    pod = cluster.pod(1)["metadata"]["name"]
    api.cut_logs_after = 2
    log = PodLog(
        kubernetes_api.connect(read_settings(launcher_settings)),
        pod,
        "worker",
        Path(tmp_path / "log"),
        lines.append,
    )
    cluster.says(1, "one", "two", "three")
    until(lambda: "three" in lines)
    cluster.says(1, "four")
    cluster.all_end_well()
    log.wait(30)
    running.end()

    assert lines == ["one", "two", "three", "four"]
