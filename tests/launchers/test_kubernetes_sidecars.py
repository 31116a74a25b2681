"""Pods that get a container besides the worker's: a service mesh's proxy, as a rule."""

import pytest

from launchers.worker_group import WorkerGroupFailed
from tests.launchers.kube_admission import INJECT_ISTIO, INJECT_LINKERD
from tests.launchers.kube_api import Fault, check
from tests.launchers.kube_runs import NAME, created, jobs, until, watches
from tests.launchers.test_kubernetes_objects import workload

WANTED = {"labels": {INJECT_ISTIO: "true"}}


@pytest.fixture
def mesh(cluster):
    """A namespace where Istio injects its proxy, whose status comes before the worker's."""
    cluster.admission.mesh = "istio"


@pytest.mark.parametrize("mesh", ["istio", "linkerd"])
@pytest.mark.parametrize("kind", ["job", "jobset"])
def test_no_sidecar_is_injected_unless_asked_for(api, cluster, start, mesh, kind):
    cluster.admission.mesh = mesh
    running = start(workload=kind)

    for pod in cluster.pods():
        assert [one["name"] for one in pod["spec"]["containers"]] == ["worker"]
        assert "initContainers" not in pod["spec"]
    cluster.all_end_well()
    running.end()


@pytest.mark.parametrize("key", ["labels", "annotations"])
def test_a_sidecar_can_be_asked_for(api, cluster, mesh, start, key):
    running = start(**{key: {INJECT_ISTIO: "true"}})

    names = [one["name"] for one in cluster.pod(0)["spec"]["containers"]]
    assert names == ["istio-proxy", "worker"]
    cluster.all_end_well()
    for index in (0, 1):
        cluster.sidecar_ends(index, 0)
    running.end()


def test_annotations_are_of_job_and_pods_and_do_not_replace_our_own():
    asked = {"gke-gcsfuse/volumes": "true", "thaw-request": "other"}
    job = workload(annotations=asked)
    check(job)

    pod = job["spec"]["template"]["metadata"]
    assert pod["annotations"]["gke-gcsfuse/volumes"] == "true"
    assert pod["annotations"][INJECT_LINKERD] == "disabled"
    assert job["metadata"]["annotations"]["gke-gcsfuse/volumes"] == "true"
    assert job["metadata"]["annotations"]["thaw-request"] != "other"
    assert pod["labels"][INJECT_ISTIO] == pod["annotations"][INJECT_ISTIO] == "false"


def test_why_a_worker_waits_is_said_though_its_sidecar_runs(api, cluster, mesh, start):
    cluster.runs_at_once = False
    running = start(pending_secs=2, **WANTED)
    cluster.runs(0)
    cluster.waits(1, "ImagePullBackOff", "Back-off pulling image")

    with pytest.raises(
        WorkerGroupFailed, match="worker 1 has not started within 2 s: ImagePullBackOff"
    ):
        running.end(20)


def test_an_init_container_that_waits_is_named(api, cluster, mesh, start):
    cluster.runs_at_once = False
    running = start(pending_secs=2, **WANTED)
    cluster.runs(0)
    cluster.waits(1, "PodInitializing")
    pod = cluster.pod(1)
    waiting = {"reason": "ErrImagePull", "message": "no such image"}
    pod["status"]["initContainerStatuses"] = [{"name": "istio-init", "state": {"waiting": waiting}}]
    api.store.put("MODIFIED", "pods", pod)

    said = r"PodInitializing: container istio-init: ErrImagePull: no such image"
    with pytest.raises(WorkerGroupFailed, match=f"worker 1 has not started within 2 s: {said}"):
        running.end(20)


def test_the_exit_code_is_the_workers_own(api, cluster, mesh, start):
    running = start(grace_secs=60, **WANTED)
    cluster.says(1, "ValueError: no such label")
    cluster.ends(1, 3)
    cluster.sidecar_ends(1, 0)

    with pytest.raises(WorkerGroupFailed) as caught:
        running.end(20)

    assert "worker 1 (pod" in str(caught.value)
    assert "ended with exit code 3\n" in str(caught.value)
    assert str(caught.value).endswith("  | ValueError: no such label")


def test_the_chiefs_log_is_the_workers_own(api, cluster, mesh, start, tmp_path):
    running = start(grace_secs=1, **WANTED)
    cluster.says(0, "epoch 1: loss 0.5")
    cluster.all_end_well()
    running.end(20)

    log = (tmp_path / "logs" / "chief.log").read_text(encoding="utf-8")
    assert log == "epoch 1: loss 0.5\n"


@pytest.mark.parametrize("kind", ["job", "jobset"])
def test_workers_that_ended_well_are_enough_though_their_sidecars_run_on(
    api, cluster, mesh, start, kind, capsys
):
    running = start(grace_secs=1, workload=kind, **WANTED)
    cluster.all_end_well()
    running.end(20)

    assert f"all 2 workers have ended well, but istio-proxy runs on: {NAME}-0 is deleted" in (
        capsys.readouterr().err
    )
    assert api.store.all(f"{kind}s") == []
    assert api.store.all("pods") == []
    assert len(created(api, f"{kind}s")) == 1


def test_a_job_that_cannot_be_deleted_after_its_end_is_no_failure(
    api, cluster, mesh, start, capsys
):
    running = start(grace_secs=1, **WANTED)
    api.faults.append(Fault("DELETE", "/jobs/", 403))
    cluster.all_end_well()
    running.end(20)

    assert f"{NAME}-0 may still run" in capsys.readouterr().err


def test_sidecars_have_time_to_end_by_themselves(api, cluster, mesh, start):
    running = start(grace_secs=60, **WANTED)
    cluster.all_end_well()
    seen = watches(api)
    until(lambda: watches(api) >= seen + 2, 20)
    for index in (0, 1):
        cluster.sidecar_ends(index, 0)
    running.end(20)

    assert jobs(api) == [f"{NAME}-0"]  # kept for its logs


def test_a_worker_that_is_still_at_work_is_waited_for(api, cluster, mesh, start):
    running = start(grace_secs=1, **WANTED)
    cluster.ends(1, 0)
    seen = watches(api)
    until(lambda: watches(api) >= seen + 3, 20)
    assert jobs(api) == [f"{NAME}-0"]

    cluster.ends(0, 0)
    running.end(20)


def test_a_worker_that_failed_is_noticed_though_its_sidecar_runs_on(api, cluster, mesh, start):
    running = start(grace_secs=1, **WANTED)
    cluster.says(1, "ValueError: no such label")
    cluster.ends(1, 1)

    with pytest.raises(WorkerGroupFailed) as caught:
        running.end(20)

    text = str(caught.value)
    assert "ended with exit code 1; istio-proxy keeps its pod running\n" in text
    assert text.endswith("  | ValueError: no such label")
    assert jobs(api) == []


def test_a_worker_that_was_lost_is_restarted_though_its_sidecar_runs_on(api, cluster, mesh, start):
    running = start(grace_secs=1, **WANTED)
    cluster.ends(1, 137)
    until(lambda: jobs(api) == [f"{NAME}-1"], 20)
    cluster.all_end_well()
    running.end(20)

    assert len(created(api, "jobs")) == 2


def test_a_sidecar_that_fails_is_named_and_its_job_restarted(api, cluster, mesh, start, capsys):
    running = start(grace_secs=60, **WANTED)
    cluster.ends(1, 0)
    cluster.sidecar_ends(1, 5)
    until(lambda: jobs(api) == [f"{NAME}-1"], 20)
    cluster.all_end_well()
    for index in (0, 1):
        cluster.sidecar_ends(index, 0)
    running.end(20)

    said = capsys.readouterr().err
    assert "ended well, but its pod failed: container istio-proxy ended with exit code 5" in said


def test_a_sidecar_that_fails_after_all_workers_ended_well_spoils_nothing(
    api, cluster, mesh, start
):
    running = start(workers=1, grace_secs=60, **WANTED)
    cluster.ends(0, 0)
    cluster.sidecar_ends(0, 5)
    running.end(20)

    assert len(created(api, "jobs")) == 1
