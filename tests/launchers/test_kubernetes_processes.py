"""A worker group whose pods really run, as processes that meet through the pods' environment."""

import json

import pytest

from launchers.request import Request, write_request
from launchers.worker_group import WorkerGroup
from tests.launchers.kube_api import KubeApi
from tests.launchers.kube_cluster import Cluster
from tests.launchers.kube_processes import Processes, can_isolate
from tests.launchers.kube_runs import Running, settings, until
from tests.launchers.processes import living

pytestmark = pytest.mark.slow


def test_workers_start_again_after_a_loss_meet_and_compute_together(tmp_path, capfd):
    uri = str(tmp_path / "worker_group" / "request.json")
    write_request(
        Request("tests.launchers.kube_executor.Sum", {}, {}, {"folder": str(tmp_path)}),
        uri,
    )
    with KubeApi() as api:
        cluster = Cluster(api)
        nodes = Processes(cluster, store=tmp_path)
        try:
            launcher_settings = settings(api.kubeconfig(tmp_path))
            running = Running(
                launcher_settings, WorkerGroup("birds-fit", uri, 2, str(tmp_path / "logs"))
            )
            until(lambda: [pod["status"]["phase"] for pod in cluster.pods()] == ["Running"] * 2)
            nodes.kill(1)
            running.end(timeout_secs=600)
        finally:
            nodes.stop()
        names = [job["metadata"]["name"] for job in api.store.all("jobs")]

    said = capfd.readouterr().err
    ended = [json.loads((tmp_path / f"{index}.json").read_text()) for index in (0, 1)]
    assert ended == [
        {"total": 3.0, "type": "chief", "index": 0},
        {"total": 3.0, "type": "worker", "index": 0},
    ]
    assert "worker 1 (pod birds-fit-0-1-" in said
    assert "was killed by signal 9 (SIGKILL)" in said
    assert names == ["birds-fit-1"]
    log = (tmp_path / "logs" / "chief.log").read_text()
    assert "worker 0 has 3.0" in log
    if can_isolate():
        assert "this pod may write to /tmp, home\n" in log
    assert living(uri) == []
