"""`thaw submit --upload`: the pipeline is kept at the service, as a version."""

import google.auth
import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import aiplatform
from google.cloud.aiplatform.utils import resource_manager_utils
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.cluster import vertex_templates

from .conftest import KUBEFLOW, VERTEX, needs_kfp
from .http_server import serving
from .kubeflow_service import Kubeflow
from .vertex_service import Vertex

pytestmark = [pytest.mark.slow, needs_kfp]

REGISTRY = "https://europe-west4-kfp.pkg.dev/project/repository"


def submit(target, settings, *options):
    arguments = ["submit", "--target", target, "--images", "gs://bucket/images"]
    arguments += [word for setting in settings for word in ("--set", setting)]
    done = CliRunner().invoke(app, [*arguments, *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def kubeflow(monkeypatch):
    monkeypatch.delenv("KF_PIPELINES_TOKEN", raising=False)
    return Kubeflow()


def to_kubeflow(service, *options):
    with serving(service) as host:
        settings = (*KUBEFLOW, f"cluster.host={host}", "cluster.labels={team: vision}")
        code, printed = submit("kubeflow", settings, "--upload", *options)
    return code, printed.replace(host, "HOST")


def test_a_pipeline_is_uploaded_once_and_then_its_versions(kubeflow):
    code, printed = to_kubeflow(kubeflow, "--no-run")

    assert code == 0, printed
    assert printed.splitlines() == [
        "uploaded: birds, version birds",
        "  pipeline id pipeline-0",
        "  version id  version-0",
        "  HOST/#/pipelines/details/pipeline-0/version/version-0",
    ]
    assert kubeflow.runs == []

    code, printed = to_kubeflow(kubeflow, "--run-name", "second")

    assert code == 0, printed
    assert printed.splitlines()[0] == "uploaded: birds, version second"
    assert printed.splitlines()[-1] == "started: HOST/#/runs/details/run_id-0"
    assert [one["tags"] for one in kubeflow.versions] == [{"team": "vision"}] * 2
    (run,) = kubeflow.runs
    assert run["pipeline_version_reference"] == {
        "pipeline_id": "pipeline-0",
        "pipeline_version_id": "version-1",
    }
    assert "pipeline_spec" not in run
    assert kubeflow.root_of(run) == "gs://bucket/root"
    stored = kubeflow.versions[1]["pipeline_spec"]["platform_spec"]
    executors = stored["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {pod["podMetadata"]["labels"]["team"] for pod in executors.values()} == {"vision"}

    code, printed = to_kubeflow(kubeflow, "--run-name", "second")

    assert code == 1
    assert "HOST rejected the request: HTTP 409: Failed to create a pipeline version" in printed
    assert len(kubeflow.runs) == 1


def test_recurring_runs_can_run_an_uploaded_version(kubeflow):
    code, printed = to_kubeflow(kubeflow, "--schedule", "0 3 * * 1")

    assert code == 0, printed
    (recurring,) = kubeflow.recurring_runs
    assert recurring["pipeline_version_reference"]["pipeline_version_id"] == "version-0"


@pytest.mark.parametrize("options", [("--no-run",), ("--upload", "--no-run", "--wait")])
def test_no_run_needs_an_upload_and_nothing_to_wait_for(options):
    code, printed = submit("kubeflow", KUBEFLOW, *options)

    assert code == 2
    assert "--no-run: goes with --upload, and without --wait." in printed


class Rerouted(requests.adapters.HTTPAdapter):
    """Sends what is for the registry to an address of loopback."""

    def __init__(self, address):
        super().__init__()
        self._address = address

    def send(self, request, **options):
        request.url = request.url.replace("https://europe-west4-kfp.pkg.dev", self._address)
        return super().send(request, **options)


@pytest.fixture
def vertex(monkeypatch):
    service = Vertex()
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), "p"))
    monkeypatch.setattr(resource_manager_utils, "get_project_number", lambda *_, **__: "1")
    with serving(service) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        aiplatform.init(api_endpoint=address, api_transport="rest")

        def session(credentials):
            made = AuthorizedSession(credentials)
            made.mount("https://europe-west4-kfp.pkg.dev", Rerouted(address))
            return made

        monkeypatch.setattr(vertex_templates, "AuthorizedSession", session)
        yield service
    aiplatform.initializer.global_config.__init__()


def test_a_pipeline_for_vertex_is_kept_in_artifact_registry(vertex):
    settings = (*VERTEX, f"cluster.vertex.template_registry={REGISTRY}")

    code, printed = submit("vertex", settings, "--upload", "--run-name", "Version 1")

    assert code == 0, printed
    ((version, template),) = vertex.templates.items()
    assert printed.splitlines()[:2] == [
        "uploaded: birds, version version-1",
        f"  pipeline id {REGISTRY}/birds",
    ]
    assert template["tags"] == ["version-1", "latest"]
    assert template["spec"]["pipelineInfo"]["name"] == "birds"
    (job,) = vertex.jobs.values()
    assert job.template_uri == f"{REGISTRY}/birds/{version}"
    assert (
        job.pipeline_spec["root"]["dag"]["tasks"].keys()
        == template["spec"]["root"]["dag"]["tasks"].keys()
    )


def test_without_a_registry_nothing_is_uploaded_to_vertex(vertex):
    code, printed = submit("vertex", VERTEX, "--upload")

    assert code == 1
    assert "cluster.vertex.template_registry: must be set for --upload" in printed
    assert "gcloud artifacts repositories create NAME --repository-format=kfp" in printed
    assert vertex.jobs == {}


def test_what_the_registry_refuses_is_passed_on(vertex):
    vertex.refuse = (403, {"error": "no right to upload"})
    settings = (*VERTEX, f"cluster.vertex.template_registry={REGISTRY}")

    code, printed = submit("vertex", settings, "--upload", "--no-run")

    assert code == 1
    assert f"{REGISTRY} rejected the pipeline: HTTP 403" in printed
    assert "no right to upload" in printed


def test_jobs_and_recurring_runs_get_the_settings_of_vertex(vertex):
    key = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
    peering = "{domain: corp.example., target_project: q, target_network: n}"
    settings = (
        *VERTEX,
        "cluster.network=null",
        "cluster.labels={team: vision}",
        f"cluster.vertex={{kms_key: {key}, network_attachment: a, dns_peering: [{peering}]}}",
    )

    code, printed = submit("vertex", settings)
    assert code == 0, printed
    code, printed = submit("vertex", settings, "--schedule", "0 3 * * 1")
    assert code == 0, printed

    (started,) = vertex.jobs.values()
    (schedule,) = vertex.schedules
    for job in (started, schedule.create_pipeline_job_request.pipeline_job):
        assert job.encryption_spec.kms_key_name == key
        assert job.labels["team"] == "vision"
        assert job.psc_interface_config.network_attachment == "a"
        assert job.psc_interface_config.dns_peering_configs[0].domain == "corp.example."
