"""The Kubernetes launcher against a stand-in API server, through the real client."""

import re
import time
from types import SimpleNamespace

import pytest

from launchers.kubernetes import attempt as kubernetes_attempt
from launchers.worker_group import WorkerGroupFailed
from tests.launchers.kube_runs import NAME, created, jobs, until
from trainer.process import exit_codes


def test_a_job_whose_launcher_is_lost_ends_some_day(api, cluster, start):
    running = start()
    (job,) = api.store.all("jobs")
    assert job["spec"]["activeDeadlineSeconds"] in (7 * 86400 - 1, 7 * 86400)
    cluster.all_end_well()
    running.end()


@pytest.mark.parametrize("workload", ["job", "jobset"])
def test_ends_when_all_workers_have_ended_well_and_keeps_the_job(api, cluster, start, workload):
    running = start(workers=3, workload=workload)

    cluster.all_end_well()
    running.end()

    (kept,) = api.store.all(f"{workload}s")
    assert kept["metadata"]["name"] == f"{NAME}-0"
    assert kept["spec"]["ttlSecondsAfterFinished"] == 86400


@pytest.mark.parametrize("workload", ["job", "jobset"])
def test_a_job_has_a_network_policy_that_goes_with_it(api, cluster, start, workload):
    running = start(workload=workload)
    (policy,) = api.store.all("networkpolicies")
    (job,) = [
        one for one in api.store.all(f"{workload}s") if one["metadata"]["name"] == f"{NAME}-0"
    ]

    assert policy["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    for pod in api.store.all("pods"):
        assert chosen.items() <= pod["metadata"]["labels"].items()
    cluster.all_end_well()
    running.end()


def test_a_job_has_no_network_policy_where_the_settings_say_so(api, cluster, start):
    running = start(network_policy=False)

    assert api.store.all("networkpolicies") == []
    cluster.all_end_well()
    running.end()


def test_a_job_has_a_headless_service_that_goes_with_it(api, cluster, start):
    running = start()
    (service,) = api.store.all("services")
    (job,) = api.store.all("jobs")

    assert service["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    assert service["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert service["spec"]["clusterIP"] == "None"
    for pod in api.store.all("pods"):
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()

    cluster.all_end_well()
    running.end()


def test_tells_how_it_goes_and_passes_on_the_chiefs_log(api, cluster, start, tmp_path, capsys):
    cluster.runs_at_once = False
    running = start()
    cluster.waits(1, "", "")
    cluster.runs(0)
    cluster.says(0, "epoch 1: loss 0.5", "epoch 2: loss 0.4 – gut")
    cluster.waits(1, "ImagePullBackOff", "Back-off pulling image")
    messages: list[str] = []

    def has_said(text: str) -> bool:
        messages.append(capsys.readouterr().err)
        return text in "".join(messages)

    until(lambda: has_said("1 running of 2 workers; worker 1 waits: ImagePullBackOff"))
    cluster.runs(1)
    until(lambda: has_said("2 running of 2 workers"))
    until(lambda: has_said("epoch 2: loss 0.4 – gut"))
    cluster.all_end_well()
    running.end()

    log = (tmp_path / "logs" / "chief.log").read_text(encoding="utf-8")
    assert log == "epoch 1: loss 0.5\nepoch 2: loss 0.4 – gut\n"
    assert has_said(f"{NAME}: all 2 workers have ended well")


def test_a_job_that_is_there_already_is_adopted(api, cluster, start):
    start()  # this launcher's pod is lost: nobody hears of it again
    running = start()

    cluster.all_end_well()
    running.end()

    assert len(created(api, "jobs")) == 1
    assert len(created(api, "services")) == 1


def test_a_job_that_ended_while_nobody_looked_is_adopted_too(api, cluster, start):
    first = start()
    cluster.all_end_well()
    first.end()

    start(watch=False).end()

    assert len(created(api, "jobs")) == 1


def test_a_failed_job_found_counts_as_an_attempt(api, cluster, start):
    first = start(limits={"max_restarts": 1})
    cluster.ends(1, exit_codes.PREEMPTED)
    until(lambda: jobs(api) == [f"{NAME}-1"])
    cluster.ends(1, exit_codes.PREEMPTED)

    with pytest.raises(WorkerGroupFailed, match="worker 1"):
        first.end()
    assert [job["metadata"]["name"] for job in created(api, "jobs")] == [f"{NAME}-0", f"{NAME}-1"]


def test_a_job_of_another_request_is_left_alone(api, cluster, start):
    start()

    with pytest.raises(WorkerGroupFailed, match=rf"kubectl -n birds delete jobs {NAME}-0"):
        start(watch=False, image="registry.example/thaw:2").end()

    assert jobs(api) == [f"{NAME}-0"]
    cluster.all_end_well()


def test_a_job_of_another_request_made_meanwhile_is_left_alone(api, cluster, start):
    start()
    (job,) = api.store.all("jobs")
    job["metadata"]["labels"] = {}  # so that it is not found before
    job["metadata"]["annotations"] = {}
    api.store.put("MODIFIED", "jobs", job)
    for pod in api.store.all("pods"):
        pod["metadata"]["labels"] = {}
        api.store.put("MODIFIED", "pods", pod)

    with pytest.raises(WorkerGroupFailed, match="started for another request"):
        start(watch=False).end()

    assert jobs(api) == [f"{NAME}-0"]


def test_an_error_of_the_work_is_told_with_its_last_lines_and_not_tried_again(
    api, cluster, start, tmp_path
):
    running = start(workers=3)
    cluster.says(2, *(f"line {number}" for number in range(30)), "ValueError: no such label")
    cluster.ends(2, 1)

    with pytest.raises(WorkerGroupFailed) as caught:
        running.end()

    text = str(caught.value)
    assert re.search(rf"{NAME}: worker 2 \(pod \S+-2-\S+\) ended with exit code 1\n", text)
    assert text.endswith("  | line 29\n  | ValueError: no such label")
    assert "line 15" not in text
    assert "line 0\n" in (tmp_path / "logs" / "worker-2.log").read_text()
    assert jobs(api) == []
    assert api.store.all("pods") == []
    assert api.store.all("services") == []
    assert len(created(api, "jobs")) == 1


@pytest.mark.parametrize("workload", ["job", "jobset"])
def test_after_a_lost_worker_the_whole_group_starts_again(api, cluster, start, workload, capsys):
    running = start(workload=workload)
    cluster.ends(1, 137)
    until(lambda: [pod for pod in cluster.pods() if f"{NAME}-1" in pod["metadata"]["name"]])
    until(lambda: len(cluster.pods()) == 2)
    cluster.all_end_well()
    running.end()

    names = [one["metadata"]["name"] for one in created(api, f"{workload}s")]
    assert names == [f"{NAME}-0", f"{NAME}-1"]
    assert [one["metadata"]["name"] for one in api.store.all(f"{workload}s")] == [f"{NAME}-1"]
    messages = capsys.readouterr().err
    assert "worker 1 (pod" in messages
    assert "was killed by signal 9 (SIGKILL). Restarting all workers (1 of 3)." in messages


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (
            lambda cluster: cluster.is_evicted(0),
            "was terminated by the cluster: Evicted: The node was",
        ),
        (lambda cluster: cluster.vanishes(0), "failed without a pod that did"),
        (
            lambda cluster: cluster.ends(0, exit_codes.LOST_PEER),
            "lost another worker (exit code 76)",
        ),
    ],
)
def test_what_happened_to_a_node_is_worth_a_restart(api, cluster, start, capsys, happens, said):
    running = start(limits={"max_restarts": 1})
    happens(cluster)
    until(lambda: jobs(api) == [f"{NAME}-1"])
    cluster.all_end_well()
    running.end()

    assert said in capsys.readouterr().err


def test_who_lost_a_peer_is_not_blamed(api, cluster, start):
    cluster.runs_at_once = True
    running = start(workers=3)
    pods = {index: cluster.pod(index) for index in range(3)}
    # As when both end before the Job's controller looks.
    for index, code, at in [(0, exit_codes.LOST_PEER, "01"), (2, 1, "02")]:
        state = {"exitCode": code, "reason": "Error", "finishedAt": f"2026-01-01T00:00:{at}Z"}
        pods[index]["status"] = {
            "phase": "Failed",
            "containerStatuses": [{"name": "worker", "state": {"terminated": state}}],
        }
    with api.store.changed:
        api.store.objects[("birds", "pods", pods[2]["metadata"]["name"])] = pods[2]
    api.store.put("MODIFIED", "pods", pods[0])

    with pytest.raises(WorkerGroupFailed, match=r"worker 2 \(pod .* ended with exit code 1\n"):
        running.end()


def test_too_little_memory_is_not_tried_again(api, cluster, start):
    running = start()
    cluster.ends(1, 137, reason="OOMKilled")

    with pytest.raises(WorkerGroupFailed, match=r"(?s)worker 1 .* OOMKilled\n.*more memory"):
        running.end()
    assert len(created(api, "jobs")) == 1


def test_restarts_are_bounded(api, cluster, start):
    running = start(limits={"max_restarts": 2})
    for attempt in range(3):
        until(lambda attempt=attempt: jobs(api) == [f"{NAME}-{attempt}"])
        cluster.ends(0, 137)

    with pytest.raises(WorkerGroupFailed, match=r"chief .*signal 9"):
        running.end()
    assert len(created(api, "jobs")) == 3
    assert jobs(api) == []


def test_no_attempt_starts_before_the_pods_of_the_last_are_gone(api, cluster, start):
    cluster.pods_linger = True
    running = start()
    cluster.ends(1, 137)
    until(lambda: jobs(api) == [])
    until(
        lambda: (
            sum(path.startswith("/api/v1/namespaces/birds/pods?") for _, path in api.requests[-2:])
            == 2
        )
    )

    assert len(created(api, "jobs")) == 1
    cluster.lingering_pods_go()
    until(lambda: jobs(api) == [f"{NAME}-1"])
    cluster.pods_linger = False
    cluster.all_end_well()
    running.end()


def test_kubernetes_keeps_the_deadline_of_all_attempts_together(api, cluster, start):
    running = start(limits={"deadline_secs": 1000})
    (first,) = api.store.all("jobs")
    cluster.ends(1, 137)
    until(lambda: jobs(api) == [f"{NAME}-1"])
    (second,) = api.store.all("jobs")
    cluster.deadline_passes()

    with pytest.raises(WorkerGroupFailed, match="has not ended within 1000 s, its deadline"):
        running.end()
    assert 990 <= first["spec"]["activeDeadlineSeconds"] <= 1000
    began = [job["metadata"]["annotations"]["thaw-first-start"] for job in (first, second)]
    assert began[0] == began[1]
    assert jobs(api) == []


def test_a_jobset_that_ends_at_its_deadline_is_not_started_again(api, cluster, start, monkeypatch):
    monkeypatch.setattr(kubernetes_attempt, "_LOOK_EVERY_SECS", 30)
    running = start(limits={"deadline_secs": 1000}, workload="jobset")
    later = time.time() + 1001
    monkeypatch.setattr(kubernetes_attempt, "time", SimpleNamespace(time=lambda: later))
    cluster.deadline_passes()

    with pytest.raises(WorkerGroupFailed, match="has not ended within 1000 s, its deadline"):
        running.end()
    assert len(created(api, "jobsets")) == 1


def test_the_launcher_ends_a_job_that_kubernetes_does_not(api, cluster, start):
    running = start(watch=False, limits={"deadline_secs": 1}, workload="jobset")

    with pytest.raises(WorkerGroupFailed, match="has not ended within 1 s"):
        running.end()
    assert api.store.all("pods") == []


def test_a_worker_that_finds_no_node_is_named(api, cluster, start):
    cluster.no_node_for[1] = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    running = start(watch=False, pending_secs=1)

    with pytest.raises(WorkerGroupFailed) as caught:
        running.end()

    assert str(caught.value).startswith(
        f"{NAME}: worker 1 has not started within 1 s: Unschedulable: 0/3 nodes are available"
    )
    assert jobs(api) == []


def test_an_image_name_that_is_none_fails_at_once(api, cluster, start):
    cluster.runs_at_once = False
    running = start()
    cluster.waits(0, "InvalidImageName", 'couldn\'t parse image "Not An Image"')

    with pytest.raises(WorkerGroupFailed, match=r"chief cannot start: InvalidImageName.*\n.*image"):
        running.end()


def test_a_job_that_somebody_deletes_is_not_made_again(api, cluster, start):
    running = start()
    (job,) = api.store.all("jobs")
    api.store.put("DELETED", "jobs", job)

    with pytest.raises(WorkerGroupFailed, match=f"{NAME}-0 was deleted"):
        running.end()
    assert len(created(api, "jobs")) == 1
