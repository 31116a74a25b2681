"""Runs the server until it receives a signal to stop, and writes its log as JSON."""

import json
import logging
import socket
import sys
from datetime import datetime, timezone
from pathlib import Path

import uvicorn

from serving.server.app import GRACE_SECS, make_app
from serving.server.registry import labelled_paths
from serving.server.settings import ServerSettings
from serving.server.slow_headers import with_header_timeout
from serving.server.vertex import VertexSettings
from trainer.errors import ThawError

_USUAL = set(vars(logging.makeLogRecord({})))


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message, and what came with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Writes one record."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _USUAL}
        line.pop("color_message", None)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class CannotListen(ThawError):
    """The address cannot be listened on. The message says why."""


def serve(
    model_dir: Path,
    settings: ServerSettings,
    host: str,
    port: int,
    vertex: VertexSettings | None = None,
    grpc_port: int | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM; then answers what has come in, and ends.

    Args:
      model_dir: folder of numbered versions, or one SavedModel.
      settings: names and limits.
      host: address to listen on.
      port: likewise; 0: any that is free.
      vertex: what Vertex AI asks for; None: it does not.
      grpc_port: as `port`, for gRPC; None: no gRPC.

    Raises:
      CannotListen: if a port is taken, or not ours to take.
      UnusableModel: if there is no model, or a label names a version that is not there.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    for name in ("thaw.serve", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    config = uvicorn.Config(
        make_app(model_dir, settings, vertex, _grpc_address(host, grpc_port)),
        http=with_header_timeout(settings.timeout_secs),
        log_config=None,
        access_log=False,  # the middleware has the request's id
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_SECS,
        lifespan="on",
        server_header=False,
    )
    labelled_paths(model_dir, settings.labels)  # reported now, not by the server as it starts
    if grpc_port:
        # gRPC binds its port once the model is loaded; a port that is taken is reported now.
        _listen(host, grpc_port, "--grpc-port").close()
    with _listen(host, port, "--port") as listener:
        logging.getLogger("thaw.serve").info("listening", extra={"address": _address(listener)})
        _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Tells a person where the page is, once there is somebody to answer it."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, then prints a line where somebody reads it; the log is for programs."""
        await super().startup(sockets)
        if self.started and sockets and sys.stderr.isatty():
            print(f"Open {_address(sockets[0], for_browser=True)}/ to try it.", file=sys.stderr)


def _address(listener: socket.socket, for_browser: bool = False) -> str:
    """Where a socket is reached over HTTP; browsers ask this machine if it listens on any."""
    host, port = listener.getsockname()[:2]
    if for_browser and host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _grpc_address(host: str, port: int | None) -> str:
    if port is None:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(host: str, port: int, option: str) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
        # Accepted sockets inherit it. asyncio sets it on sockets that name TCP as their protocol,
        # which these do not; without it an answer waits 40 ms for the client's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {host}:{port}: {error.strerror}.", to_do=f"Give another {option}."
        ) from error
