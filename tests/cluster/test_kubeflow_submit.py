"""`thaw submit` to Kubeflow, by the real client against a server that speaks its protocol."""

import time

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.cluster import follow

from .conftest import KUBEFLOW, needs_kfp
from .http_server import serving
from .kubeflow_service import API, Kubeflow

pytestmark = [pytest.mark.slow, needs_kfp]


@pytest.fixture
def kubeflow(monkeypatch, tmp_path):
    monkeypatch.delenv("KF_PIPELINES_TOKEN", raising=False)
    monkeypatch.setattr(follow, "POLL_SECS", 0.01)
    return Kubeflow()


def submit(service, *options, settings=KUBEFLOW):
    with serving(service) as host:
        chosen = [*settings, f"cluster.host={host}/"]
        arguments = ["submit", "--target", "kubeflow", "--images", "gs://bucket/images"]
        arguments += [word for setting in chosen for word in ("--set", setting)]
        done = CliRunner().invoke(app, [*arguments, *options])
    return done, done.output.replace(host, "HOST")


def made(service):
    """The requests that change something."""
    return [asked.path.removeprefix(API) for asked in service.asked if asked.method == "POST"]


def test_a_run_is_started_and_its_address_printed(kubeflow):
    done, printed = submit(kubeflow, "--run-name", "first")

    assert done.exit_code == 0, printed
    assert printed == "started: HOST/#/runs/details/run_id-0\n"
    (run,) = kubeflow.runs
    assert run["display_name"] == "first"
    assert run["service_account"] == "trainer"
    assert [one["display_name"] for one in kubeflow.experiments] == ["birds"]
    sent = run["pipeline_spec"]
    executors = sent["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["FineTuner_executor"]["nodeSelector"]["labels"] == {"pool": "gpu"}
    task = sent["pipeline_spec"]["root"]["dag"]["tasks"]["FineTuner"]
    assert task["cachingOptions"] == {"enableCache": True}
    assert "authorization" not in kubeflow.asked[0].headers


@pytest.mark.parametrize("options", [(), ("--schedule", "0 3 * * 1")])
def test_artifacts_go_to_the_root_of_the_config(kubeflow, options):
    kubeflow.launcher_root = "s3://of-the-cluster"

    done, printed = submit(kubeflow, *options)

    assert done.exit_code == 0, printed
    (started,) = [*kubeflow.runs, *kubeflow.recurring_runs]
    assert kubeflow.root_of(started) == "gs://bucket/root"


def test_a_token_namespace_and_experiment_are_sent(kubeflow, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_TOKEN", "secret")
    kubeflow.token, kubeflow.multi_user = "secret", True
    settings = (*KUBEFLOW, "cluster.namespace=team", "cluster.experiment=hands")

    done, printed = submit(kubeflow, "--no-caching", settings=settings)

    assert done.exit_code == 0, printed
    (experiment,) = kubeflow.experiments
    assert (experiment["display_name"], experiment["namespace"]) == ("hands", "team")
    tasks = kubeflow.runs[0]["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks.values())
    assert {asked.headers["authorization"] for asked in kubeflow.asked} == {"Bearer secret"}


def test_waiting_tells_of_each_task(kubeflow):
    kubeflow.outages = 1
    kubeflow.states = [
        {"state": "PENDING"},
        look("RUNNING", root="RUNNING", ImageExampleGen="RUNNING"),
        look("RUNNING", ImageExampleGen="SUCCEEDED", StatisticsGen="SKIPPED"),
        look("SUCCEEDED", ImageExampleGen="SUCCEEDED", StatisticsGen="SKIPPED"),
    ]

    done, printed = submit(kubeflow, "--wait")

    assert done.exit_code == 0, printed
    lines = [line.split(" 0.")[0] for line in printed.splitlines()]
    assert lines == [
        "started: HOST/#/runs/details/run_id-0",
        "ImageExampleGen: running",
        "ImageExampleGen: done",
        "StatisticsGen: cached",
        "finished: HOST/#/runs/details/run_id-0",
    ]


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_a_config_without_a_cluster_is_bad_usage(target):
    done = CliRunner().invoke(app, ["submit", "--target", target, "--images", "gs://b/i"])

    assert done.exit_code == 2
    assert "cluster.image, cluster.pipeline_root: must be set" in done.output


def test_waiting_for_a_run_that_fails_names_the_task_and_why(kubeflow):
    failed = look("FAILED", HeadTrainer="FAILED")
    failed["run_details"]["task_details"][0]["error"] = {"code": 2, "message": "out of memory"}
    kubeflow.states = [failed]

    done, printed = submit(kubeflow, "--wait")

    assert done.exit_code == 1
    assert "thaw: HeadTrainer failed: out of memory" in printed
    assert "Its logs: HOST/#/runs/details/run_id-0" in printed


def look(state, **tasks):
    details = [{"display_name": name, "state": of_task} for name, of_task in tasks.items()]
    return {"state": state, "run_details": {"task_details": details}}


def test_recurring_runs_keep_the_pipeline_and_the_time(kubeflow):
    done, printed = submit(kubeflow, "--schedule", "0 3 * * 1")

    assert done.exit_code == 0, printed
    assert (
        printed == "recurring runs at 0 3 * * 1: HOST/#/recurringrun/details/recurring_run_id-0\n"
    )
    (recurring,) = kubeflow.recurring_runs
    assert recurring["display_name"] == "birds"
    assert recurring["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert (recurring["mode"], recurring["max_concurrency"]) == ("ENABLE", 1)
    assert recurring["no_catchup"] is True
    assert recurring["service_account"] == "trainer"
    assert recurring["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "birds"
    assert kubeflow.runs == []


def test_a_second_schedule_of_the_same_name_is_refused(kubeflow):
    submit(kubeflow, "--schedule", "0 3 * * 1")

    done, printed = submit(kubeflow, "--schedule", "0 4 * * 1")

    assert done.exit_code == 1
    assert "there are recurring runs 'birds' already" in printed
    assert len(kubeflow.recurring_runs) == 1


@pytest.mark.parametrize(
    ("deployment", "message"),
    [
        ({"token": "secret"}, "cluster.host: HOST asks for a login (HTTP 401)."),
        ({"multi_user": True}, "cluster.namespace: must be set: HOST serves several users"),
    ],
)
def test_who_is_not_let_in_is_told_before_anything_is_sent(kubeflow, deployment, message):
    for name, value in deployment.items():
        setattr(kubeflow, name, value)

    done, printed = submit(kubeflow)

    assert done.exit_code == 1
    assert f"thaw: {message}" in printed
    assert made(kubeflow) == []


def test_a_token_that_is_not_taken_is_said_to_be_so(kubeflow, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_TOKEN", "old")
    kubeflow.token = "new"

    done, printed = submit(kubeflow)

    assert done.exit_code == 1
    assert "HOST does not accept the token in KF_PIPELINES_TOKEN (HTTP 401)" in printed


def test_what_the_server_refuses_is_passed_on(kubeflow):
    kubeflow._create = lambda *_: (400, {"message": "quota of runs is used up"})

    done, printed = submit(kubeflow)

    assert done.exit_code == 1
    assert "HOST rejected the request: HTTP 400: quota of runs is used up" in printed


def test_a_start_without_an_answer_may_be_one_all_the_same(kubeflow, monkeypatch):
    monkeypatch.setattr("pipeline.cluster.kubeflow_session.ANSWER_SECS", 0.5)
    kubeflow._create = lambda *_: time.sleep(2) or (200, {})

    done, printed = submit(kubeflow)

    assert done.exit_code == 1
    assert "HOST did not answer in time" in printed
    assert "It may have started all the same: thaw runs list" in printed


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("null", "cluster.host: must be set"),
        ("http://127.0.0.1:9", "cluster.host: http://127.0.0.1:9 does not answer"),
    ],
)
def test_a_host_that_is_not_there_is_a_clear_error(kubeflow, host, message):
    arguments = ["submit", "--target", "kubeflow", "--images", "gs://b/i"]
    chosen = [*KUBEFLOW, f"cluster.host={host}"]

    done = CliRunner().invoke(app, [*arguments, *(w for s in chosen for w in ("--set", s))])

    assert done.exit_code == 1
    assert message in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--schedule", "every day"), "A schedule has five fields"),
        (("--schedule", "0 3 * * 1", "--wait"), "recurring runs have no end to wait for"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_bad_usage(kubeflow, options, message):
    done, printed = submit(kubeflow, *options)

    assert done.exit_code == 2
    assert message in printed
    assert kubeflow.asked == []
