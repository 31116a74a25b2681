"""A stand-in cluster, and a launcher that runs a worker group on it."""

import pytest

from launchers.kubernetes import api as kubernetes_api
from launchers.kubernetes import attempt, pod_log
from launchers.kubernetes import launcher as kubernetes
from tests.launchers.kube_api import KubeApi
from tests.launchers.kube_cluster import Cluster
from tests.launchers.kube_runs import Running, group, settings, until, watches


@pytest.fixture
def api():
    with KubeApi() as server:
        yield server


@pytest.fixture
def cluster(api):
    return Cluster(api)


@pytest.fixture
def look_often(monkeypatch):
    monkeypatch.setattr(attempt, "_LOOK_EVERY_SECS", 1)
    monkeypatch.setattr(attempt, "_LOG_WAIT_SECS", 1.0)
    for module in (kubernetes, kubernetes_api, pod_log):
        monkeypatch.setattr(module, "_PAUSE_SECS", 0.1)


@pytest.fixture
def start(api, tmp_path, look_often):
    """Starts a launcher and waits until it watches its job; by then all pods are there."""

    def starts(workers: int = 2, limits: dict | None = None, watch: bool = True, **more) -> Running:
        before = watches(api)
        launcher_settings = settings(api.kubeconfig(tmp_path), **more)
        running = Running(launcher_settings, group(tmp_path, workers, **(limits or {})))
        if watch:
            until(lambda: watches(api) > before)
        return running

    return starts
