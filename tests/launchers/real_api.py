"""A real API server with its store, for what only it can tell: admission policies, dry runs.

There are no controllers and no nodes: a Job makes no pods. Built by `make cluster-test`.
"""

import contextlib
import functools
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.launchers.kube_tools import cluster_tools

ADMIN = "system:masters"
LAUNCHER = "system:serviceaccount:kubeflow:pipeline-runner"
NOTEBOOK = "system:serviceaccount:kubeflow-user-example-com:default-editor"

_GROUPS = {ADMIN: ADMIN, LAUNCHER: "system:serviceaccounts", NOTEBOOK: "system:serviceaccounts"}
_START_SECS = 120
_UNVERIFIED = ssl.create_default_context()
_UNVERIFIED.check_hostname = False
_UNVERIFIED.verify_mode = ssl.CERT_NONE


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class RealApi:
    """One control plane without controllers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.resource = functools.cache(self._resource)

    def call(self, method: str, path: str, body: Any = None, user: str = ADMIN) -> Answer:
        """One request as `user`."""
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {user}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60, context=_UNVERIFIED) as answer:
                return Answer(answer.status, _json(answer.read()))
        except urllib.error.HTTPError as refused:
            return Answer(refused.code, _json(refused.read()))

    def _resource(self, api_version: str, kind: str) -> tuple[str, bool]:
        """The plural of a kind, and whether it lies in a namespace."""
        path = f"/api/{api_version}" if api_version == "v1" else f"/apis/{api_version}"
        known = self.call("GET", path).body.get("resources", [])
        (one,) = [one for one in known if one["kind"] == kind and "/" not in one["name"]]
        return one["name"], one["namespaced"]

    def path(self, one: dict[str, Any], named: bool) -> str:
        """The address of an object or, not `named`, of all objects of its kind."""
        version = one["apiVersion"]
        plural, namespaced = self.resource(version, one["kind"])
        path = f"/api/{version}" if version == "v1" else f"/apis/{version}"
        if namespaced:
            path += f"/namespaces/{one['metadata']['namespace']}"
        return f"{path}/{plural}" + (f"/{one['metadata']['name']}" if named else "")

    def apply(self, one: dict[str, Any], dry_run: bool = False) -> Answer:
        """As `kubectl apply --server-side` does; unknown fields are refused."""
        query = "?fieldManager=test&force=true&fieldValidation=Strict"
        query += "&dryRun=All" if dry_run else ""
        return self.call("PATCH", self.path(one, named=True) + query, one)

    def create(self, one: dict[str, Any], user: str, dry_run: bool = True) -> Answer:
        """As the launcher does; by default nothing is kept."""
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.call("POST", self.path(one, named=False) + query, one, user)


def _json(text: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except ValueError:
        return {"message": text.decode(errors="replace")}


@contextlib.contextmanager
def running(folder: Path) -> Iterator[RealApi]:
    """Starts etcd and kube-apiserver on free ports of this machine; `folder` is theirs."""
    store, peer, port = _free_ports(3)
    _write_credentials(folder)
    etcd = _start(
        folder,
        "etcd",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{store}",
        f"--advertise-client-urls=http://127.0.0.1:{store}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
    )
    server = _start(
        folder,
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{store}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certificates'}",
        "--authorization-mode=RBAC",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'account.pub'}",
        f"--service-account-signing-key-file={folder / 'account.key'}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--allow-privileged=true",
        "--watch-cache=false",
    )
    try:
        api = RealApi(f"https://127.0.0.1:{port}")
        _wait_until_ready(api, [etcd, server], folder)
        yield api
    finally:
        # Nothing of theirs is kept, and the server takes seconds to end in good order.
        for process in (server, etcd):
            process.kill()
            process.wait()
        shutil.rmtree(folder / "etcd", ignore_errors=True)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return [one.getsockname()[1] for one in sockets]


def _write_credentials(folder: Path) -> None:
    """A token for each user, which is the user's name; the key that signs accounts' tokens."""
    lines = [f'{name},{name},{number},"{_GROUPS[name]}"' for number, name in enumerate(_GROUPS)]
    (folder / "tokens.csv").write_text("\n".join(lines) + "\n")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "account.key").write_bytes(private)
    (folder / "account.pub").write_bytes(public)


def _start(folder: Path, name: str, *options: str) -> subprocess.Popen[bytes]:
    log = (folder / f"{name}.log").open("wb")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.Popen(
        [str(cluster_tools().TOOLS / name), *options],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
    )


def _wait_until_ready(
    api: RealApi, processes: Sequence[subprocess.Popen[bytes]], folder: Path
) -> None:
    deadline = time.monotonic() + _START_SECS
    while time.monotonic() < deadline:
        if any(process.poll() is not None for process in processes):
            break
        with contextlib.suppress(OSError):
            if api.call("GET", "/readyz").status == 200:
                return
        time.sleep(0.3)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))
    raise AssertionError(f"the API server was not ready within {_START_SECS} s:\n{logs}")
