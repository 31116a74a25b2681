"""A stand-in cluster, and a launcher that runs a gang on it."""

import pytest

from components.gang import kubernetes, kubernetes_api, kubernetes_attempt, pod_log
from tests.gang.kube_api import KubeApi
from tests.gang.kube_cluster import Cluster
from tests.gang.kube_runs import Running, gang, settings, until, watches


@pytest.fixture
def api():
    with KubeApi() as server:
        yield server


@pytest.fixture
def cluster(api):
    return Cluster(api)


@pytest.fixture
def look_often(monkeypatch):
    monkeypatch.setattr(kubernetes_attempt, "_LOOK_EVERY_SECS", 1)
    monkeypatch.setattr(kubernetes_attempt, "_LOG_WAIT_SECS", 1.0)
    for module in (kubernetes, kubernetes_api, pod_log):
        monkeypatch.setattr(module, "_PAUSE_SECS", 0.1)


@pytest.fixture
def start(api, tmp_path, look_often):
    """Starts a launcher and waits until it watches its job; by then all pods are there."""

    def starts(workers: int = 2, limits: dict | None = None, watch: bool = True, **more) -> Running:
        before = watches(api)
        told = settings(api.kubeconfig(tmp_path), **more)
        running = Running(told, gang(tmp_path, workers, **(limits or {})))
        if watch:
            until(lambda: watches(api) > before)
        return running

    return starts
