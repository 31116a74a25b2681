"""Stands in for Cloud Storage and for Dataflow: their HTTP, as Beam's clients speak it.

What is uploaded and which jobs are asked for is kept; every job is said to be done at once.
"""

import base64
import json
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import google_crc32c
from google.cloud import dataflow

_OBJECT = re.compile(r"^/storage/v1/b/([^/]+)/o/(.+)$")
_UPLOAD = re.compile(r"^/upload/storage/v1/b/([^/]+)/o$")
_JOBS = re.compile(r"^/v1b3/projects/([^/]+)/locations/([^/]+)/jobs$")


@dataclass(frozen=True)
class Request:
    """For a new job, in the project and the region that its address names."""

    project: str
    region: str
    job: dataflow.Job


@dataclass
class Service:
    """Where it listens, and what it was sent."""

    url: str
    objects: dict[str, bytes] = field(default_factory=dict)
    jobs: list[Request] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Service]:
    server = ThreadingHTTPServer(("localhost", 0), _Handler)
    server.service = Service(f"http://localhost:{server.server_port}")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        match = _OBJECT.match(path)
        if match and "/".join(match.groups()) not in self._service.objects:
            self._answer({"error": {"code": 404, "message": "no such object"}}, 404)
            return
        self._answer({"name": match.group(2) if match else path.rsplit("/", 1)[-1]})

    def do_POST(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        content = self._content()
        if upload := _UPLOAD.match(parts.path):
            name = urllib.parse.parse_qs(parts.query).get("name") or [json.loads(content)["name"]]
            address = f"{self._service.url}/put/{upload.group(1)}/{urllib.parse.quote(name[0])}"
            self._answer({}, location=address)
            return
        if job := _JOBS.match(parts.path):
            sent = dataflow.Job.from_json(content.decode())
            self._service.jobs.append(Request(job.group(1), job.group(2), sent))
            self._answer({"id": "job-1", "currentState": "JOB_STATE_DONE"})
            return
        self._answer({"error": {"code": 404, "message": self.path}}, 404)

    def do_PUT(self) -> None:
        name = urllib.parse.unquote(self.path.removeprefix("/put/"))
        held = self._service.objects[name] = self._service.objects.get(name, b"") + self._content()
        if self.headers["Content-Range"].endswith("/*"):  # more is to come
            self._answer({}, 308, range=f"bytes=0-{len(held) - 1}")
            return
        checksum = base64.b64encode(google_crc32c.Checksum(held).digest()).decode()
        self._answer({"name": name.split("/", 1)[1], "size": str(len(held)), "crc32c": checksum})

    @property
    def _service(self) -> Service:
        return self.server.service

    def _content(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, body: dict[str, Any], code: int = 200, **headers: str) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.title(), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""
