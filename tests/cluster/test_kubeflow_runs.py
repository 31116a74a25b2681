"""`thaw runs` on Kubeflow, against a server that speaks its protocol."""

import json

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.cluster import follow
from pipeline.cluster.kubeflow_logs import pod_names

from .conftest import KUBEFLOW, needs_kfp
from .http_server import serving
from .kubeflow_service import Kubeflow

pytestmark = needs_kfp

SPEC = {
    "root": {
        "dag": {
            "tasks": {
                "FineTuner": {
                    "componentRef": {"name": "FineTuner"},
                    "dependentTasks": ["Transform"],
                    "retryPolicy": {"maxRetryCount": 2},
                },
                "Transform": {"componentRef": {"name": "Transform"}},
            }
        }
    },
    "components": {
        "FineTuner": {"executorLabel": "FineTuner_executor"},
        "Transform": {"executorLabel": "Transform_executor"},
    },
}
WITH_LABELS = {
    "pipeline_spec": SPEC,
    "platform_spec": {
        "platforms": {
            "kubernetes": {
                "deploymentSpec": {
                    "executors": {
                        "FineTuner_executor": {"podMetadata": {"labels": {"a": "1", "b": "2"}}}
                    }
                }
            }
        }
    },
}


@pytest.fixture
def kubeflow(monkeypatch):
    monkeypatch.delenv("KF_PIPELINES_TOKEN", raising=False)
    monkeypatch.setattr(follow, "POLL_SECS", 0.01)
    service = Kubeflow()
    for number, name in enumerate(("birds", "others")):
        service.experiments.append({"experiment_id": str(number), "display_name": name})
    return service


def add_run(kubeflow, name, state="RUNNING", experiment="0", **fields):
    number = len(kubeflow.runs)
    kubeflow.runs.append(
        {
            "run_id": f"id-{number}",
            "display_name": name,
            "experiment_id": experiment,
            "state": state,
            "created_at": f"2026-01-01T0{number}:00:00Z",
            "finished_at": "1970-01-01T00:00:00Z",
            "pipeline_spec": SPEC,
            **fields,
        }
    )


def runs(service, *command, settings=()):
    with serving(service) as host:
        chosen = [*KUBEFLOW, f"cluster.host={host}", *settings]
        arguments = ["runs", *command, "--target", "kubeflow"]
        arguments += [word for setting in chosen for word in ("--set", setting)]
        done = CliRunner().invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output.replace(host, "HOST")


def test_runs_are_listed_newest_first_with_their_versions(kubeflow):
    kubeflow.versions.append(
        {"pipeline_id": "p", "pipeline_version_id": "v", "display_name": "birds-7"}
    )
    add_run(kubeflow, "older", "SUCCEEDED", finished_at="2026-01-01T02:30:00Z")
    add_run(kubeflow, "elsewhere", experiment="1")
    reference = {"pipeline_id": "p", "pipeline_version_id": "v"}
    add_run(kubeflow, "newer", pipeline_version_reference=reference, pipeline_spec=None)

    code, printed = runs(kubeflow, "list")

    assert code == 0, printed
    head, newer, older = (line.split() for line in printed.splitlines())
    assert head == ["RUN", "NAME", "STATE", "AGE", "TOOK", "VERSION"]
    assert (newer[:3], newer[4:]) == (["id-2", "newer", "running"], ["–", "birds-7"])
    assert (older[:3], older[4:]) == (["id-0", "older", "succeeded"], ["2h", "–"])


def test_runs_of_other_pipelines_are_listed_as_json_page_by_page(kubeflow, monkeypatch):
    monkeypatch.setattr("pipeline.cluster.kubeflow_client._PAGE", 2)
    kubeflow.multi_user = True
    for experiment in kubeflow.experiments:
        experiment["namespace"] = "team"
    for number in range(5):
        add_run(kubeflow, f"run-{number}", experiment=str(number % 2))

    code, printed = runs(
        kubeflow, "list", "--all", "--json", "--limit", "4", settings=["cluster.namespace=team"]
    )

    assert code == 0, printed
    listed = [json.loads(line) for line in printed.splitlines()]
    assert [one["name"] for one in listed] == ["run-4", "run-3", "run-2", "run-1"]
    assert listed[0] == {
        "run_id": "id-4",
        "name": "run-4",
        "state": "running",
        "version": "",
        "created": "2026-01-01T04:00:00+00:00",
        "ended": None,
        "url": "HOST/#/runs/details/id-4",
    }


def test_without_runs_the_list_says_so(kubeflow):
    kubeflow.experiments.clear()

    assert runs(kubeflow, "list") == (0, "no runs\n")
    assert runs(kubeflow, "watch")[1].startswith("thaw: this pipeline has no run yet.")


def test_the_newest_run_is_watched_through_an_outage(kubeflow, monkeypatch):
    monkeypatch.setattr(follow, "_LONGEST_WAIT_SECS", 0.01)
    add_run(kubeflow, "first")
    details = [{"display_name": "Transform", "state": "SUCCEEDED"}]
    done = {"state": "SUCCEEDED", "run_details": {"task_details": details}}
    kubeflow.states = [{"state": "RUNNING"}, done]
    lookups = kubeflow._one_run

    def out_of_order(run_id, action):
        # The first look is for the names of the tasks.
        kubeflow.outages, kubeflow._one_run = 4, lookups
        return 200, {**kubeflow.runs[0]}

    kubeflow._one_run = out_of_order

    code, printed = runs(kubeflow, "watch")

    assert code == 0, printed
    note, transform, finished = printed.splitlines()
    assert note.startswith("HOST answers HTTP 503: out of order. Trying again")
    assert transform.startswith("Transform: done")
    assert finished == "finished: HOST/#/runs/details/id-0"


def test_a_run_that_was_terminated_is_said_to_be_so(kubeflow):
    add_run(kubeflow, "first")
    kubeflow.states = [{"state": "CANCELED"}]

    code, printed = runs(kubeflow, "watch")

    assert (code, printed.splitlines()[0]) == (1, "thaw: the run was terminated")


@pytest.mark.parametrize("is_ui", [False, True])
def test_the_log_of_the_last_attempt_is_printed(kubeflow, is_ui):
    kubeflow.is_ui = is_ui
    add_run(kubeflow, "first", pipeline_spec=WITH_LABELS)
    node = {"display_name": "FineTuner", "state": "RUNNING"}
    node["child_tasks"] = [{"pod_name": "birds-x7f-1"}]
    kubeflow.states = [{"state": "RUNNING", "run_details": {"task_details": [node]}}]
    names = list(pod_names("birds-x7f-1", "FineTuner", WITH_LABELS))
    kubeflow.logs = {names[2]: "epoch 1\nepoch 2\n", names[4]: "lost\n"}

    code, printed = runs(kubeflow, "logs", "FineTuner")

    assert (code, printed) == (0, "epoch 1\nepoch 2\n")


def test_a_pods_name_is_made_as_argo_makes_it():
    # The second name is that of a pod on a real installation.
    tasks = {"workspace-name": {"retryPolicy": {"maxRetryCount": 1}, "componentRef": {"name": "c"}}}
    spec = {"root": {"dag": {"tasks": tasks}}, "components": {"c": {"executorLabel": "e"}}}

    names = list(pod_names("general-cpu-rnggt-807657059", "workspace-name", spec))

    assert names == [
        "general-cpu-rnggt-retry-system-container-impl-863475947",
        "general-cpu-rnggt-retry-system-container-impl-1467617326",
        "general-cpu-rnggt-807657059",
    ]
    assert list(pod_names("birds-x7f-1", "Transform", WITH_LABELS)) == [
        "birds-x7f-system-container-impl-1",
        "birds-x7f-1",
    ]


@pytest.mark.parametrize("is_ui", [False, True])
def test_a_log_that_is_gone_is_an_error_that_says_where_to_look(kubeflow, is_ui):
    kubeflow.is_ui = is_ui
    add_run(kubeflow, "first")
    node = {"display_name": "Transform", "state": "FAILED"}
    node["child_tasks"] = [{"pod_name": "birds-x7f-1"}]
    kubeflow.states = [{"state": "FAILED", "run_details": {"task_details": [node]}}]

    code, printed = runs(kubeflow, "logs", "Transform", "id-0")

    assert code == 1
    assert "the log of Transform was not found: its pod is gone" in printed
    assert "kubectl -n kubeflow logs -l pipeline/runid=id-0 -c main" in printed


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("FineTuner", "FineTuner has no log: no pod of it has started in this run."),
        ("Tuner", "the run has no task Tuner. Tasks: Transform, FineTuner."),
    ],
)
def test_a_node_without_a_log_is_an_error(kubeflow, node, message):
    add_run(kubeflow, "first")
    kubeflow.states = [{"state": "RUNNING"}]

    code, printed = runs(kubeflow, "logs", node)

    assert (code, printed) == (1, f"thaw: {message}\n")


def test_a_failed_run_is_retried_and_a_running_one_terminated(kubeflow):
    add_run(kubeflow, "failed", "FAILED")
    add_run(kubeflow, "running")

    assert runs(kubeflow, "retry", "id-0") == (0, "retrying: HOST/#/runs/details/id-0\n")
    assert runs(kubeflow, "terminate", "id-1") == (0, "terminating: HOST/#/runs/details/id-1\n")

    assert [run["state"] for run in kubeflow.runs] == ["RUNNING", "CANCELING"]


@pytest.mark.parametrize(
    ("command", "run_id", "message"),
    [
        ("retry", "id-0", "HTTP 400: Workflow must be Failed/Error to retry"),
        ("terminate", "id-0", "HTTP 400: Failed to terminate a run id-0. Row not found"),
        ("terminate", "nobody", "HTTP 404: Run nobody not found."),
        ("watch", "nobody", "HTTP 404: Run nobody not found."),
    ],
)
def test_what_the_service_refuses_is_passed_on(kubeflow, command, run_id, message):
    add_run(kubeflow, "done", "SUCCEEDED")

    code, printed = runs(kubeflow, command, run_id)

    assert (code, printed) == (1, f"thaw: HOST rejected the request: {message}\n")
