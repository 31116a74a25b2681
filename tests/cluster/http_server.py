"""A small HTTP server on loopback that keeps what it was sent."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request: path without its query, query, headers in lower case, body.

    The body is read JSON, or the parts of a form by their names; None if there is none.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Raw:
    """An answer that is no JSON."""

    text: str
    content_type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)


class Service(Protocol):
    """Answers requests; `asked` is kept by the server."""

    asked: list[Asked]

    def answer(self, asked: Asked) -> tuple[int, Any]:
        """HTTP status, and a JSON body or a `Raw` one."""


class Silent:
    """A service that takes requests and never answers, until `released`."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.released = threading.Event()

    def answer(self, asked: Asked) -> tuple[int, Any]:
        self.released.wait(60)
        return 200, {}


@contextmanager
def serving(service: Service, certificate: Path | None = None) -> Iterator[str]:
    """Serves on a free port of loopback; gives its address.

    Args:
      service: answers.
      certificate: file of a key and its certificate; the server speaks TLS with them.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def _handle(self) -> None:
            url = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = _body(sent, headers.get("content-type", ""))
            asked = Asked(self.command, url.path, dict(parse_qsl(url.query)), headers, body)
            service.asked.append(asked)
            status, answer = service.answer(asked)
            raw = answer if isinstance(answer, Raw) else Raw(json.dumps(answer), "application/json")
            content = raw.text.encode()
            self.send_response(status)
            self.send_header("Content-Type", raw.content_type)
            self.send_header("Content-Length", str(len(content)))
            for name, value in raw.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # who broke off is the test's affair
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _body(sent: bytes, content_type: str) -> Any:
    if content_type.startswith("multipart/form-data"):
        form = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + sent)
        parts: Any = form.get_payload()
        return {
            part.get_param("name", header="content-disposition"): part.get_payload(
                decode=True
            ).decode()
            for part in parts
        }
    if content_type.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(sent.decode()))
    return json.loads(sent) if sent else None
