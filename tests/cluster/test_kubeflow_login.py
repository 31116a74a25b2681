"""`thaw submit` and `thaw runs` against hosts that do not let us in, or do not answer."""

import os
import time

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.cluster import follow

from .certificates import write_self_signed
from .conftest import KUBEFLOW, needs_kfp
from .http_server import Raw, Silent, serving
from .kubeflow_service import Kubeflow

pytestmark = needs_kfp

SUBMIT = ("submit", "--images", "gs://bucket/images")
LIST = ("runs", "list")


@pytest.fixture(autouse=True)
def no_login(monkeypatch):
    for name in ("KF_PIPELINES_TOKEN", "KF_PIPELINES_COOKIE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(follow, "POLL_SECS", 0.01)


@pytest.fixture
def kubeflow():
    service = Kubeflow()
    service.experiments.append({"experiment_id": "experiment-0", "display_name": "birds"})
    service.runs.append(
        {
            "run_id": "one",
            "display_name": "first",
            "experiment_id": "experiment-0",
            "created_at": "2026-01-01T00:00:00Z",
            "state": "RUNNING",
            "pipeline_spec": {"root": {"dag": {"tasks": {"Transform": {}}}}},
        }
    )
    return service


def run(host, *command, settings=()):
    """Exit code and output of a command whose config names a host."""
    chosen = [*KUBEFLOW, f"cluster.host={host}", *settings]
    arguments = [*command, "--target", "kubeflow"]
    arguments += [word for setting in chosen for word in ("--set", setting)]
    done = CliRunner().invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output.replace(host, "HOST")


@pytest.mark.parametrize("command", [SUBMIT, LIST])
@pytest.mark.parametrize("login", ["redirect", "page", "forbidden"])
def test_a_log_in_page_is_no_answer(kubeflow, command, login):
    kubeflow.cookie, kubeflow.login = "session=1", login

    with serving(kubeflow) as host:
        code, printed = run(host, *command)

    assert code == 1
    answer = "HTTP 302" if login == "redirect" else "it shows a web page"
    assert f"cluster.host: HOST asks for a login ({answer}" in printed
    assert "behind a proxy with a log-in page KF_PIPELINES_COOKIE" in printed
    assert len(kubeflow.asked) == 1


def test_the_cookies_of_a_proxy_are_sent(kubeflow, tmp_path):
    kubeflow.cookie = "session=1"
    (tmp_path / "cookie").write_text("session=1\n")

    with serving(kubeflow) as host:
        setting = f"cluster.credentials.cookie_file={tmp_path / 'cookie'}"
        code, printed = run(host, *LIST, settings=[setting])

    assert code == 0, printed
    assert "one" in printed


def test_cookies_that_expire_while_a_run_is_watched_are_an_error(kubeflow, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_COOKIE", "session=1")
    kubeflow.cookie = "session=1"

    class Expiring(list):
        def pop(self, index):
            kubeflow.cookie = "session=2"
            return super().pop(index)

    kubeflow.states = Expiring([{"state": "RUNNING"}] * 3)

    with serving(kubeflow) as host:
        code, printed = run(host, "runs", "watch", "one")

    assert code == 1
    assert "HOST does not accept the cookie in KF_PIPELINES_COOKIE (HTTP 302)" in printed
    assert "The run itself is not affected: HOST/#/runs/details/one" in printed


@pytest.mark.parametrize("command", [SUBMIT, LIST])
def test_a_certificate_that_nobody_signed_is_an_error(kubeflow, tmp_path, command):
    with serving(kubeflow, write_self_signed(tmp_path / "both.pem")) as host:
        code, printed = run(host, *command)

    assert code == 1
    assert "cluster.host: the certificate of HOST is not trusted" in printed
    assert "cluster.credentials.ca_file or the variable SSL_CERT_FILE" in printed
    assert kubeflow.asked == []


def test_a_certificate_authority_of_ones_own_is_trusted(kubeflow, tmp_path):
    file = write_self_signed(tmp_path / "both.pem")

    with serving(kubeflow, file) as host:
        code, printed = run(host, *LIST, settings=[f"cluster.credentials.ca_file={file}"])

    assert code == 0, printed


@pytest.mark.parametrize("command", [SUBMIT, LIST])
def test_a_host_that_hangs_is_given_up(monkeypatch, command):
    monkeypatch.setattr("pipeline.cluster.kubeflow_session.ANSWER_SECS", 0.2)
    service = Silent()
    started = time.monotonic()

    with serving(service) as host:
        code, printed = run(host, *command)
        service.released.set()

    assert code == 1
    assert "cluster.host: HOST did not answer in time" in printed
    assert time.monotonic() - started < 30
    assert len(service.asked) == 1


def test_a_token_is_read_again_when_it_has_expired(kubeflow, tmp_path):
    file = tmp_path / "token"
    file.write_text("old")
    kubeflow.token = "new"
    kubeflow.on_rejected = lambda: file.write_text("new\n")  # as the kubelet renews it

    with serving(kubeflow) as host:
        code, printed = run(host, *LIST, settings=[f"cluster.credentials.token_file={file}"])

    assert code == 0, printed
    tokens = [asked.headers["authorization"] for asked in kubeflow.asked]
    assert tokens == ["Bearer old", *["Bearer new"] * 3]


@pytest.mark.parametrize("command", [SUBMIT, LIST])
def test_a_token_that_stays_expired_is_an_error(kubeflow, tmp_path, command):
    (tmp_path / "token").write_text("old")
    kubeflow.token = "new"

    with serving(kubeflow) as host:
        setting = f"cluster.credentials.token_file={tmp_path / 'token'}"
        code, printed = run(host, *command, settings=[setting])

    assert code == 1
    assert f"does not accept the token in {tmp_path}/token" in printed
    assert "(HTTP 401): it may have expired" in printed
    assert len(kubeflow.asked) == 1


def test_in_a_pod_the_token_of_the_service_account_is_sent(kubeflow, monkeypatch, tmp_path):
    (tmp_path / "token").write_text("projected")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    kubeflow.token = "projected"

    with serving(kubeflow) as host:
        code, printed = run(host, *LIST)

    assert code == 0, printed


@pytest.mark.parametrize("content", [None, "", "two\nlines"])
def test_a_file_without_a_token_is_an_error(kubeflow, tmp_path, content):
    if content is not None:
        (tmp_path / "token").write_text(content)

    with serving(kubeflow) as host:
        setting = f"cluster.credentials.token_file={tmp_path / 'token'}"
        code, printed = run(host, *LIST, settings=[setting])

    assert code == 1
    assert f"cluster.credentials.token_file: {tmp_path / 'token'}" in printed
    assert kubeflow.asked == []


def test_the_proxy_of_the_environment_is_used(kubeflow, monkeypatch):
    with serving(kubeflow) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.replace("//", "//me:secret@"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        code, printed = run("http://kubeflow.example", *LIST)

    assert code == 0, printed
    headers = {asked.headers["host"] for asked in kubeflow.asked}
    assert headers == {"kubeflow.example"}
    assert kubeflow.asked[0].headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"


def test_a_proxy_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    code, printed = run("http://kubeflow.example", *LIST)

    assert code == 1
    assert "the proxy for HOST does not answer" in printed


def test_an_address_that_has_moved_is_an_error_that_names_the_new_one():
    class Moved:
        def __init__(self):
            self.asked = []

        def answer(self, asked):
            return 308, Raw("", headers={"Location": f"https://kubeflow.example/p{asked.path}"})

    with serving(Moved()) as host:
        code, printed = run(host, *LIST)

    assert code == 1
    assert "cluster.host: HOST redirects to https://kubeflow.example/p (HTTP 308)." in printed


def test_another_service_is_said_to_be_one():
    class Other:
        def __init__(self):
            self.asked = []

        def answer(self, asked):
            return 404, {"message": "no such page"}

    with serving(Other()) as host:
        code, printed = run(host, *LIST)

    assert code == 1
    assert "cluster.host: HOST is not an API of Kubeflow Pipelines" in printed
    assert os.linesep + "Traceback" not in printed
