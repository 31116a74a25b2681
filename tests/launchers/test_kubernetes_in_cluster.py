"""The launcher as a pod meets its cluster: over TLS, by the token that is mounted."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from kubernetes.config import incluster_config

from launchers.kubernetes import api as kubernetes_api
from launchers.worker_group import WorkerGroupFailed
from tests.launchers.kube_api import KubeApi
from tests.launchers.kube_cluster import Cluster
from tests.launchers.kube_runs import NAME, Running, group, until


@pytest.fixture
def service_account(tmp_path, monkeypatch) -> Path:
    """The folder that Kubernetes mounts into a pod, with a certificate for 127.0.0.1."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command, to make a certificate")
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    certificate = ["-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(folder / "ca.crt")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *certificate, *files],
        check=True,
        capture_output=True,
    )
    (folder / "token").write_text("secret")
    (folder / "namespace").write_text("birds\n")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(folder / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(folder / "ca.crt"))
    monkeypatch.setattr(kubernetes_api, "SERVICE_ACCOUNT_DIR", folder)
    return folder


@pytest.fixture
def api(service_account, tmp_path, monkeypatch):
    server = KubeApi()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(service_account / "ca.crt", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_address[1]))
    with server:
        yield server


TOLD = {"kind": "kubernetes", "image": "registry.example/thaw:1", "api_retry_secs": 5}


def test_a_pods_own_account_and_namespace_are_used(api, tmp_path):
    cluster = Cluster(api)
    running = Running(TOLD, group(tmp_path))
    until(lambda: any("watch=True" in path for _, path in api.requests))
    cluster.all_end_well()
    running.end()

    (job,) = api.store.all("jobs")
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == (f"{NAME}-0", "birds")


def test_a_token_that_is_not_accepted_is_a_clear_error(api, service_account, tmp_path):
    (service_account / "token").write_text("old")

    with pytest.raises(
        WorkerGroupFailed, match=r"Unauthorized \(HTTP 401\)\n.*The token is not accepted"
    ):
        Running(TOLD, group(tmp_path)).end()


def test_a_server_that_another_authority_vouches_for_is_refused_at_once(
    api, service_account, tmp_path, monkeypatch
):
    import certifi

    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", certifi.where())

    with pytest.raises(WorkerGroupFailed, match="CERTIFICATE_VERIFY_FAILED"):
        Running({**TOLD, "api_retry_secs": 300}, group(tmp_path)).end()


def test_a_pod_without_an_account_is_a_clear_error(api, service_account, tmp_path):
    (service_account / "token").unlink()

    with pytest.raises(
        WorkerGroupFailed, match=r"Service token file does not exist\.\n  Run the launcher"
    ):
        Running(TOLD, group(tmp_path)).end()
