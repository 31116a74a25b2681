"""`thaw submit` to Vertex AI, by Google's real clients against a server that speaks their
protocol.
"""

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from google.cloud.aiplatform.utils import resource_manager_utils
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.cluster import follow

from .conftest import VERTEX, needs_kfp
from .http_server import serving
from .vertex_service import PARENT, Vertex

pytestmark = [pytest.mark.slow, needs_kfp]

CONSOLE = "https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines"


@pytest.fixture
def vertex(monkeypatch):
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), "p"))
    monkeypatch.setattr(follow, "POLL_SECS", 0.01)
    # The one request that goes to another service: whose is the bucket?
    monkeypatch.setattr(resource_manager_utils, "get_project_number", lambda *_, **__: "1")
    service = Vertex()
    with serving(service) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        aiplatform.init(api_endpoint=address, api_transport="rest")
        yield service
    aiplatform.initializer.global_config.__init__()


def submit(*options, settings=VERTEX):
    arguments = ["submit", "--target", "vertex", "--images", "gs://bucket/images"]
    arguments += [word for setting in settings for word in ("--set", setting)]
    done = CliRunner().invoke(app, [*arguments, *options])
    return done, done.output


def created(vertex):
    return [asked.path for asked in vertex.asked if asked.method == "POST"]


def test_a_job_is_started_and_its_address_printed(vertex):
    done, printed = submit("--run-name", "first")

    assert done.exit_code == 0, printed
    ((path, job),) = vertex.jobs.items()
    assert printed == f"started: {CONSOLE}/runs/{path.split('/')[1]}?project=p\n"
    assert created(vertex) == [f"/v1/{PARENT}/pipelineJobs"]
    assert job.display_name == "first"
    assert job.service_account == "a@p.iam"
    assert job.network == "projects/1/global/networks/n"
    assert job.runtime_config.gcs_output_directory == "gs://bucket/root"
    tasks = job.pipeline_spec["root"]["dag"]["tasks"]
    assert tasks["HeadTrainer"]["cachingOptions"]["enableCache"] is True


def test_waiting_tells_of_each_task(vertex):
    vertex.states = [
        look("PENDING"),
        look("RUNNING", ImageExampleGen="RUNNING"),
        look("RUNNING", ImageExampleGen="SUCCEEDED", StatisticsGen="SKIPPED"),
        look("SUCCEEDED", ImageExampleGen="SUCCEEDED", StatisticsGen="SKIPPED"),
    ]

    done, printed = submit("--wait", "--no-caching")

    assert done.exit_code == 0, printed
    lines = [line.split(" 0.")[0].split(": http")[0] for line in printed.splitlines()]
    assert lines == [
        "started",
        "ImageExampleGen: running",
        "ImageExampleGen: done",
        "StatisticsGen: cached",
        "finished",
    ]
    (job,) = vertex.jobs.values()
    tasks = job.pipeline_spec["root"]["dag"]["tasks"]
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks.values())


def test_waiting_for_a_job_that_fails_names_the_task_and_why(vertex):
    failed = look("FAILED", HeadTrainer="FAILED")
    failed["jobDetail"]["taskDetails"][0]["error"] = {"code": 2, "message": "out of memory"}
    vertex.states = [failed]

    done, printed = submit("--wait")

    assert done.exit_code == 1
    assert "thaw: HeadTrainer failed: out of memory" in printed
    assert f"Its logs: {CONSOLE}/runs/birds-" in printed


def look(state, **tasks):
    details = [{"taskName": name, "state": of_task} for name, of_task in tasks.items()]
    return {"state": f"PIPELINE_STATE_{state}", "jobDetail": {"taskDetails": details}}


def test_recurring_runs_keep_the_pipeline_and_the_time(vertex):
    done, printed = submit("--schedule", "0 3 * * 1")

    assert done.exit_code == 0, printed
    assert printed.startswith(f"recurring runs at 0 3 * * 1: {CONSOLE}/schedules/0")
    (schedule,) = vertex.schedules
    assert (schedule.display_name, schedule.cron) == ("birds", "0 3 * * 1")
    assert schedule.max_concurrent_run_count == 1
    job = schedule.create_pipeline_job_request.pipeline_job
    assert schedule.create_pipeline_job_request.parent == PARENT
    assert job.service_account == "a@p.iam"
    assert job.pipeline_spec["pipelineInfo"]["name"] == "birds"
    assert vertex.jobs == {}


def test_a_second_schedule_of_the_same_name_is_refused(vertex):
    submit("--schedule", "0 3 * * 1")

    done, printed = submit("--schedule", "0 4 * * 1")

    assert done.exit_code == 1
    assert "there are recurring runs 'birds' already" in printed
    assert len(vertex.schedules) == 1


def test_what_the_service_refuses_is_passed_on(vertex):
    vertex.refuse = (403, {"error": {"code": 403, "message": "Permission denied on a@p.iam"}})

    done, printed = submit()

    assert done.exit_code == 1
    assert "Vertex AI rejected the pipeline: 403" in printed
    assert "Permission denied on a@p.iam" in printed


def test_a_bucket_that_is_not_there_is_said_before_anything_is_sent(vertex):
    vertex.bucket = "another"

    done, printed = submit()

    assert done.exit_code == 1
    assert "cluster.pipeline_root: there is no bucket 'bucket'" in printed
    assert "gcloud storage buckets create gs://bucket --location=europe-west4" in printed
    assert created(vertex) == []


def test_no_credentials_are_said_before_anything_is_sent(vertex, monkeypatch):
    def no_credentials(**_):
        raise google.auth.exceptions.DefaultCredentialsError("none")

    monkeypatch.setattr(google.auth, "default", no_credentials)

    done, printed = submit()

    assert done.exit_code == 1
    assert "no Google credentials were found: run gcloud auth application-default" in printed
    assert vertex.asked == []


def test_a_project_and_a_location_are_needed(vertex):
    settings = (*VERTEX, "cluster.project=null", "cluster.location=null")

    done, printed = submit(settings=settings)

    assert done.exit_code == 1
    assert "cluster.project, cluster.location: must be set" in printed
    assert vertex.asked == []
