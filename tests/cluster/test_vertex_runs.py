"""`thaw runs` on Vertex AI, by Google's real clients against a server that speaks their
protocol.
"""

import json
import time
from datetime import datetime, timezone

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from google.cloud.aiplatform_v1 import types
from google.oauth2.credentials import Credentials
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.cluster import follow, vertex_logs

from .certificates import write_self_signed
from .conftest import VERTEX, needs_kfp
from .http_server import Silent, serving
from .vertex_service import PARENT, Vertex

pytestmark = needs_kfp

SUBMIT = ("submit", "--images", "gs://bucket/images")
COMMANDS = pytest.mark.parametrize("command", [SUBMIT, ("runs", "list")])
CONSOLE = "https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs"


@pytest.fixture(autouse=True)
def google_login(monkeypatch):
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), "p"))
    monkeypatch.setattr(follow, "POLL_SECS", 0.01)
    yield
    aiplatform.initializer.global_config.__init__()


@pytest.fixture
def vertex(monkeypatch):
    service = Vertex()
    with serving(service) as address:
        use(address, monkeypatch)
        yield service


def use(address, monkeypatch):
    monkeypatch.setattr(vertex_logs, "ENDPOINT", address)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    aiplatform.init(api_endpoint=address, api_transport="rest")


def add_job(vertex, number, state="RUNNING", pipeline="birds", **fields):
    tasks = {"FineTuner": {"dependentTasks": ["Transform"]}, "Transform": {}}
    spec = {"pipelineInfo": {"name": pipeline}, "root": {"dag": {"tasks": tasks}}}
    path = f"pipelineJobs/{pipeline}-{number}"
    vertex.jobs[path] = types.PipelineJob(
        name=f"{PARENT}/{path}",
        display_name=f"run {number}",
        pipeline_spec=spec,
        state=f"PIPELINE_STATE_{state}",
        create_time=datetime(2026, 1, 1, number, tzinfo=timezone.utc),
        **fields,
    )


def runs(*command):
    return thaw("runs", *command)


def thaw(*command):
    arguments = [*command, "--target", "vertex"]
    arguments += [word for setting in VERTEX for word in ("--set", setting)]
    done = CliRunner().invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_runs_are_listed_newest_first(vertex, monkeypatch):
    monkeypatch.setattr("pipeline.cluster.vertex_client._PAGE", 1)
    ended = datetime(2026, 1, 1, 0, 45, tzinfo=timezone.utc)
    add_job(vertex, 0, "SUCCEEDED", end_time=ended, template_uri="https://r/p/r/birds/sha256:7")
    add_job(vertex, 1, pipeline="others")
    add_job(vertex, 2)

    code, printed = runs("list")

    assert code == 0, printed
    newer, older = (line.split() for line in printed.splitlines()[1:])
    assert (newer[:4], newer[5:]) == (["birds-2", "run", "2", "running"], ["–", "–"])
    assert (older[:4], older[5:]) == (["birds-0", "run", "0", "succeeded"], ["45m", "sha256:7"])
    assert len(runs("list", "--all")[1].splitlines()) == 4
    newest = json.loads(runs("list", "--json", "--limit", "1")[1])
    assert newest["url"] == f"{CONSOLE}/birds-2?project=p"


def test_the_newest_run_is_watched(vertex):
    add_job(vertex, 0)
    detail = {"taskName": "Transform", "state": "SUCCEEDED"}
    done = {"state": "PIPELINE_STATE_SUCCEEDED", "jobDetail": {"taskDetails": [detail]}}
    vertex.states = [{}, {}, done]

    code, printed = runs("watch")

    assert code == 0, printed
    transform, finished = printed.splitlines()
    assert transform.startswith("Transform: done")
    assert finished == f"finished: {CONSOLE}/birds-0?project=p"


def test_the_log_of_the_last_attempt_is_read_page_by_page(vertex):
    add_job(vertex, 0)
    container = {
        "mainJob": f"{PARENT}/customJobs/22",
        "failedMainJobs": [f"{PARENT}/customJobs/11"],
    }
    detail = {"taskName": "FineTuner", "executorDetail": {"containerDetail": container}}
    vertex.states = [{"jobDetail": {"taskDetails": [detail]}}]
    vertex.logs = {
        "11": [{"textPayload": "lost"}],
        "22": [
            {"textPayload": "epoch 1\nloss 0.5"},
            {"jsonPayload": {"message": "epoch 2"}},
            {"textPayload": "done"},
        ],
    }

    code, printed = runs("logs", "FineTuner", "birds-0")

    assert (code, printed) == (0, "epoch 1\nloss 0.5\nepoch 2\ndone\n")


def test_a_node_without_a_log_is_an_error(vertex):
    add_job(vertex, 0)
    vertex.states = [{}]

    assert runs("logs", "Transform")[1].startswith("thaw: Transform has no log: no job of it")
    assert "the run has no task Tuner. Tasks: Transform, FineTuner." in runs("logs", "Tuner")[1]


def test_a_run_is_terminated_and_custom_jobs_are_mentioned(vertex):
    add_job(vertex, 0)

    code, printed = runs("terminate", "birds-0")

    assert code == 0, printed
    assert printed.startswith(f"terminating: {CONSOLE}/birds-0?project=p\n")
    assert "gcloud ai custom-jobs list" in printed
    assert vertex.jobs["pipelineJobs/birds-0"].state.name == "PIPELINE_STATE_CANCELLING"


def test_a_retry_is_refused_with_what_to_do_instead(vertex):
    code, printed = runs("retry", "birds-0")

    assert code == 1
    assert "thaw: birds-0: Vertex AI cannot retry a run." in printed
    assert "thaw submit --target vertex" in printed


def test_a_run_that_does_not_exist_is_an_error(vertex):
    code, printed = runs("watch", "birds-9")

    assert code == 1
    assert "Vertex AI rejected the request: 404" in printed
    assert "pipelineJobs/birds-9 does not exist" in printed


@COMMANDS
def test_a_service_that_hangs_is_given_up(monkeypatch, command):
    monkeypatch.setattr("pipeline.cluster.vertex_client.ANSWER_SECS", 0.2)
    service = Silent()
    started = time.monotonic()

    with serving(service) as address:
        use(address, monkeypatch)
        code, printed = thaw(*command)
        service.released.set()

    assert code == 1
    assert "thaw: Vertex AI does not answer" in printed
    assert time.monotonic() - started < 30


@COMMANDS
def test_a_certificate_that_nobody_signed_is_an_error(monkeypatch, tmp_path, command):
    with serving(Vertex(), write_self_signed(tmp_path / "both.pem")) as address:
        use(address, monkeypatch)
        code, printed = thaw(*command)

    assert code == 1
    assert "the certificate of Google Cloud's API is not trusted" in printed
    assert "REQUESTS_CA_BUNDLE" in printed


@COMMANDS
def test_expired_credentials_are_an_error(vertex, monkeypatch, command):
    expired = Credentials(
        None,
        refresh_token="r",
        token_uri=f"{vertex_logs.ENDPOINT}/token",
        client_id="c",
        client_secret="s",
    )
    monkeypatch.setattr(google.auth, "default", lambda **_: (expired, "p"))

    code, printed = thaw(*command)

    assert code == 1
    assert "the Google credentials are not valid any more" in printed
    assert "gcloud auth application-default login" in printed
