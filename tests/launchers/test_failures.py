"""Both launchers say the same of the same recorded endings: who, what, what to do, and whether
another start may help."""

import json
import sys

import pytest

from launchers.failures import Failure
from launchers.local import launcher as local
from launchers.registry import make_launcher, read_settings
from launchers.worker_group import Limits, WorkerGroup, WorkerGroupFailed
from tests.launchers.kube_runs import created
from trainer.process import exit_codes

# Ends as its request says for its number, some time after all workers have started.
WORKER = """
import json, os, sys, time
from pathlib import Path
request = Path(sys.argv[1])
task = json.loads(os.environ["TF_CONFIG"])["task"]
index = 0 if task["type"] == "chief" else task["index"] + 1
endings = json.loads(request.read_text())
(request.parent / f"up-{index}").touch()
while len(list(request.parent.glob("up-*"))) < len(endings):
    time.sleep(0.01)
code, secs = endings[index]
time.sleep(secs)
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""

RUNS_ON = (0, 60.0)
STEP_SECS = 0.4

# For each worker: its exit code, negative for a signal, and when; then who is named, a part of
# what is said, a part of the advice, and whether another start may help.
CASES = {
    "an error of the work": ([RUNS_ON, (1, 0)], "worker 1", "exit code 1", "its log", False),
    "an error though a peer notices first": (
        [(exit_codes.LOST_PEER, 0), (exit_codes.LOST_PEER, 1), (3, 2)],
        "worker 2",
        "ended with exit code 3",
        "its log",
        False,
    ),
    "an error though another worker times out first": (
        [(exit_codes.STALLED, 0), (3, 1)],
        "worker 1",
        "ended with exit code 3",
        "its log",
        False,
    ),
    "an error though a peer aborts first": (
        [(-6, 0), (3, 1)],
        "worker 1",
        "ended with exit code 3",
        "its log",
        False,
    ),
    "a kill though a peer aborts first": (
        [(-6, 0), (-9, 1)],
        "worker 1",
        "was killed by signal 9 (SIGKILL)",
        "more memory",
        True,
    ),
    "an exit code that a shell made of a signal": (
        [RUNS_ON, (137, 0)],
        "worker 1",
        "was killed by signal 9 (SIGKILL)",
        "more memory",
        True,
    ),
    "an exit code above those of signals": (
        [RUNS_ON, (255, 0)],
        "worker 1",
        "ended with exit code 255",
        "its log",
        False,
    ),
    "a segmentation fault": ([(-11, 0), RUNS_ON], "chief", "(SIGSEGV)", "resumes", True),
    "an abort alone": ([(-6, 0), RUNS_ON], "chief", "(SIGABRT)", "its log", True),
    "a preemption": (
        [(exit_codes.LOST_PEER, 0), (exit_codes.PREEMPTED, 1)],
        "worker 1",
        "was preempted by SIGTERM (exit code 75)",
        "resumes",
        True,
    ),
    "the first of two kills": ([(-9, 1), (-9, 0)], "worker 1", "SIGKILL", "more memory", True),
    "nobody but who lost a peer": (
        [RUNS_ON, (exit_codes.LOST_PEER, 1), (exit_codes.LOST_PEER, 0)],
        "worker 2",
        "lost another worker (exit code 76)",
        "other workers",
        True,
    ),
    "workers that do not all start": (
        [(exit_codes.NOT_STARTED, 0), (exit_codes.NOT_STARTED, 1)],
        "chief",
        "timed out waiting for the other workers (exit code 60)",
        "train.start_secs",
        False,
    ),
    "a step that takes too long": (
        [(exit_codes.LOST_PEER, 0), (exit_codes.STALLED, 1)],
        "worker 1",
        "finished nothing for too long (exit code 78)",
        "train.stall_secs",
        True,
    ),
}


@pytest.fixture
def run_here(tmp_path, monkeypatch):
    """Runs the endings as processes of this machine."""
    monkeypatch.setattr(local, "_SETTLE_SECS", 3 * STEP_SECS)

    def runs(endings: list[tuple[int, float]]) -> Failure:
        request = tmp_path / "request.json"
        request.write_text(json.dumps([(code, step * STEP_SECS) for code, step in endings]))
        launcher = make_launcher(
            read_settings({"kind": "local", "command": [sys.executable, "-c", WORKER]})
        )
        logs, limits = str(tmp_path / "local"), Limits(max_restarts=0)
        with pytest.raises(WorkerGroupFailed) as caught:
            launcher.run(WorkerGroup("birds-fit", str(request), len(endings), logs, limits))
        return caught.value.failure

    return runs


@pytest.fixture
def run_on_kubernetes(api, cluster, start):
    """Gives the stand-in cluster's pods the endings, all before anybody looks."""

    def runs(endings: list[tuple[int, float]]) -> Failure:
        running = start(workers=len(endings), limits={"max_restarts": 0})
        ended = {index: one for index, one in enumerate(endings) if one != RUNS_ON}
        *earlier, last = sorted(ended)
        with api.store.changed:
            for index in earlier:
                pod = {**cluster.pod(index), "status": failed_status(*ended[index])}
                api.store.objects[("birds", "pods", pod["metadata"]["name"])] = pod
            pod = {**cluster.pod(last), "status": failed_status(*ended[last])}
            api.store.put("MODIFIED", "pods", pod)
        with pytest.raises(WorkerGroupFailed) as caught:
            running.end()
        return caught.value.failure

    return runs


def failed_status(code: int, secs: float) -> dict:
    state = {
        "exitCode": code if code >= 0 else 128 - code,
        "reason": "Error",
        "finishedAt": f"2026-01-01T00:00:{10 + int(secs):02}Z",
    }
    return {
        "phase": "Failed",
        "containerStatuses": [{"name": "worker", "state": {"terminated": state}}],
    }


@pytest.mark.parametrize(
    ("endings", "worker", "what", "to_do", "retryable"), CASES.values(), ids=CASES
)
def test_both_launchers_say_the_same_of_the_same_endings(
    run_here, run_on_kubernetes, endings, worker, what, to_do, retryable
):
    here, there = run_here(endings), run_on_kubernetes(endings)

    for failure in (here, there):
        assert failure.worker == worker
        assert failure.retryable is retryable
        assert what in failure.what
        assert to_do in failure.to_do
    assert (here.what, here.to_do) == (there.what, there.to_do)


def test_both_launchers_name_the_job_where_a_deadline_passes(
    run_here, start, monkeypatch, tmp_path
):
    limits = Limits(deadline_secs=1)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    group = WorkerGroup("birds-fit", "r", 1, str(tmp_path / "local"), limits)
    with pytest.raises(WorkerGroupFailed) as here:
        make_launcher(read_settings({"kind": "local", "command": command})).run(group)
    with pytest.raises(WorkerGroupFailed) as there:
        start(watch=False, limits={"deadline_secs": 1}).end()

    assert here.value.failure.headline() == "the job has not ended within 1 s, its deadline"
    assert there.value.failure.headline() == here.value.failure.headline()
    assert there.value.failure.to_do == here.value.failure.to_do


@pytest.mark.parametrize("code", [exit_codes.PREEMPTED, 143, 137, 1])
def test_a_pod_that_its_job_ended_is_not_to_blame(api, cluster, start, code):
    """The Job's controller deletes the other pods when one has failed: SIGTERM, then SIGKILL."""
    running = start(limits={"max_restarts": 1})
    ended = {**cluster.pod(1), "status": failed_status(code, 5)}
    ended["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:11Z"
    with api.store.changed:
        api.store.objects[("birds", "pods", ended["metadata"]["name"])] = ended
        first = {**cluster.pod(0), "status": failed_status(exit_codes.NOT_STARTED, 0)}
        api.store.put("MODIFIED", "pods", first)

    with pytest.raises(WorkerGroupFailed, match=r"chief \(pod \S+\) timed out waiting"):
        running.end()

    assert len(created(api, "jobs")) == 1


def test_a_pod_that_was_drained_is_to_blame(api, cluster, start):
    running = start(limits={"max_restarts": 0})
    drained = {**cluster.pod(1), "status": failed_status(exit_codes.PREEMPTED, 5)}
    drained["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:11Z"
    condition = {"type": "DisruptionTarget", "status": "True", "message": "node drained"}
    drained["status"]["conditions"] = [condition]
    with api.store.changed:
        api.store.objects[("birds", "pods", drained["metadata"]["name"])] = drained
        first = {**cluster.pod(0), "status": failed_status(exit_codes.LOST_PEER, 0)}
        api.store.put("MODIFIED", "pods", first)

    with pytest.raises(WorkerGroupFailed, match=r"worker 1 .*preempted .*: node drained"):
        running.end()
