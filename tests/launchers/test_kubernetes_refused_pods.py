"""Jobs whose pods Kubernetes refuses to create, or holds back."""

import time
from datetime import datetime, timedelta, timezone

import pytest

from launchers.kubernetes import api as kubernetes_api
from launchers.kubernetes.workload import read_workload
from launchers.worker_group import WorkerGroupFailed
from tests.launchers.kube_api import Fault
from tests.launchers.kube_cluster import QUEUE
from tests.launchers.kube_runs import NAME, jobs, until, watches
from trainer.process import exit_codes

QUEUED = {"labels": {QUEUE: "team"}}


def quota_wants_a_cpu_limit(admission):
    admission.quota_wants = ("limits.cpu",)


def quota_is_used_up(admission):
    admission.room = 0


def there_is_no_such_account(admission):
    admission.accounts = {"default"}


def pod_security_forbids_an_injected_container(admission):
    admission.mesh, admission.restricted = "istio", True


@pytest.mark.parametrize("workload", ["job", "jobset"])
@pytest.mark.parametrize(
    ("refuses", "reason", "to_do"),
    [
        (
            quota_wants_a_cpu_limit,
            "is forbidden: failed quota: team: must specify limits.cpu for: worker",
            "cluster.launcher.cpu_limit",
        ),
        (quota_is_used_up, "is forbidden: exceeded quota: team, requested: pods=1", "quota"),
        (
            there_is_no_such_account,
            "error looking up service account birds/thaw-worker: "
            'serviceaccount "thaw-worker" not found',
            "cluster.launcher.service_account",
        ),
        (
            pod_security_forbids_an_injected_container,
            'violates PodSecurity "restricted:latest": unrestricted capabilities '
            '(container "istio-init"',
            "pod-security.kubernetes.io/enforce",
        ),
    ],
)
def test_pods_that_admission_refuses_fail_the_job_with_the_reason(
    api, cluster, start, workload, refuses, reason, to_do
):
    refuses(cluster.admission)
    asked = {"labels": {"sidecar.istio.io/inject": "true"}, "service_account": "thaw-worker"}
    running = start(watch=False, pending_secs=1, workload=workload, **asked)

    with pytest.raises(WorkerGroupFailed) as caught:
        running.end(20)

    text = str(caught.value)
    assert text.startswith(f"{NAME}: the job has no pods after 1 s: FailedCreate: Error creating: ")
    assert reason in text
    assert to_do in text.splitlines()[-1]
    assert text.count("FailedCreate") == 1
    assert jobs(api) == []
    assert api.store.all("pods") == []


def test_a_cpu_limit_is_what_such_a_quota_wants(api, cluster, start):
    cluster.admission.quota_wants = ("limits.cpu",)
    running = start(cpu_limit="4")

    (container,) = cluster.pod(0)["spec"]["containers"]
    assert container["resources"]["limits"]["cpu"] == "4"
    cluster.all_end_well()
    running.end()


def test_the_reason_is_in_the_log_while_there_is_still_time(api, cluster, start, capsys):
    cluster.admission.quota_wants = ("limits.cpu",)
    running = start()
    log: list[str] = []

    def has_said(text: str) -> bool:
        log.append(capsys.readouterr().err)
        return text in "".join(log)

    until(lambda: has_said("none running of 2 workers; no pods: FailedCreate: Error creating"), 20)
    seen = watches(api)
    until(lambda: watches(api) >= seen + 2, 20)
    cluster.admission.quota_wants = ()
    until(lambda: len(cluster.pods()) == 2, 20)
    cluster.all_end_well()
    running.end()

    assert has_said(f'pods "{NAME}-0-0-*" is forbidden: failed quota: team: must specify')
    assert "".join(log).count("FailedCreate") == 1


@pytest.mark.parametrize("workload", ["job", "jobset"])
def test_a_suspended_job_needs_no_pods(api, cluster, start, workload, capsys):
    running = start(pending_secs=1, workload=workload, **QUEUED)
    seen = watches(api)
    until(lambda: watches(api) >= seen + 3, 20)
    assert api.store.all("pods") == []

    cluster.admits()
    cluster.all_end_well()
    running.end()

    assert "none running of 2 workers; the job is suspended" in capsys.readouterr().err
    assert [one["status"]["conditions"][-1]["type"] for one in api.store.all("jobs")] == [
        "Complete"
    ]


@pytest.mark.parametrize("workload", ["job", "jobset"])
def test_the_wait_for_pods_begins_when_a_job_is_resumed(api, cluster, start, workload):
    running = start(pending_secs=3, workload=workload, **QUEUED)
    make_older(api, timedelta(hours=1))
    cluster.admission.quota_wants = ("limits.cpu",)
    began = time.monotonic()
    cluster.admits()

    with pytest.raises(WorkerGroupFailed, match=r"no pods after 3 s: FailedCreate"):
        running.end(20)
    assert time.monotonic() - began > 2


def make_older(api, by: timedelta) -> None:
    """As if everything had been created that much earlier."""
    then = (datetime.now(timezone.utc) - by).strftime("%Y-%m-%dT%H:%M:%SZ")
    for plural in ("jobs", "jobsets"):
        for one in api.store.all(plural):
            one["metadata"]["creationTimestamp"] = then
            if "startTime" in one.get("status", {}):
                one["status"]["startTime"] = then
            api.store.put("MODIFIED", plural, one)


@pytest.mark.parametrize("workload", ["job", "jobset"])
def test_a_launcher_that_starts_again_counts_from_the_jobs_own_start(api, cluster, start, workload):
    cluster.admission.quota_wants = ("limits.cpu",)
    # This launcher's pod is lost: nobody hears of it again, for it would wait for a day.
    start(workload=workload, pending_secs=86_400)
    make_older(api, timedelta(hours=1))

    with pytest.raises(WorkerGroupFailed, match="no pods after 1800 s: FailedCreate"):
        start(watch=False, workload=workload).end(20)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "kubectl auth can-i list events -n birds"),
        (500, "kubectl -n birds describe jobs birds-fit-0123456789-0"),
    ],
)
def test_a_job_without_pods_fails_though_its_events_cannot_be_read(
    api, cluster, start, monkeypatch, status, said
):
    monkeypatch.setattr(kubernetes_api, "_EVENTS_RETRY_SECS", 0.1)
    cluster.admission.quota_wants = ("limits.cpu",)
    api.faults.append(Fault("GET", "/events$", status, times=99))
    running = start(watch=False, pending_secs=1)

    with pytest.raises(WorkerGroupFailed) as caught:
        running.end(30)

    assert str(caught.value).startswith(
        f"{NAME}: the job has no pods after 1 s: its events could not be read: could not list "
        f"events in namespace 'birds': told to fail (HTTP {status})"
    )
    assert said in str(caught.value)
    assert jobs(api) == []


def test_a_jobset_whose_controller_makes_no_job_fails_too(api, cluster, start, monkeypatch):
    monkeypatch.setattr(cluster, "_make_job_of", lambda jobset: None)

    with pytest.raises(WorkerGroupFailed) as caught:
        start(watch=False, pending_secs=1, workload="jobset").end(20)

    text = str(caught.value)
    assert text.startswith(f"{NAME}: the job has no pods after 1 s: Kubernetes gives no reason")
    assert f"kubectl -n birds describe jobsets {NAME}-0" in text


def test_a_worker_whose_pod_was_refused_is_named_when_the_others_give_up(api, cluster, start):
    cluster.admission.room = 1
    running = start()
    cluster.ends(0, exit_codes.NOT_STARTED)

    with pytest.raises(WorkerGroupFailed) as caught:
        running.end()

    first_line = str(caught.value).splitlines()[0]
    assert "chief (pod" in first_line
    assert "exit code 60" in first_line
    assert "; not all pods were created: FailedCreate: Error creating: pods" in first_line
    assert "exceeded quota: team" in first_line


@pytest.mark.parametrize(
    "status",
    [
        {"active": 2},
        {"succeeded": 1},
        {"failed": 1},
        {"terminating": 1},
        {"uncountedTerminatedPods": {"failed": ["uid"]}},
        {"replicatedJobsStatus": [{"name": "w", "active": 1}]},
    ],
)
def test_a_job_that_has_had_pods_is_not_one_without(status):
    metadata = {
        "name": "job",
        "uid": "1",
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    empty = {"active": 0, "uncountedTerminatedPods": {}, "startTime": "2026-01-01T00:00:00Z"}

    assert read_workload({"metadata": metadata, "status": status}).counts_pods
    assert not read_workload({"metadata": metadata, "status": empty}).counts_pods
