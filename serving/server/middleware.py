"""Around every request: its id, its log line, its metrics, the token, and its errors."""

import hmac
import logging
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.server.answers import json_response
from serving.server.metrics import Metrics
from serving.server.refused import RequestRefused

_log = logging.getLogger("thaw.serve")

# What orchestrators ask without a token.
_OPEN = ("/v2/health/live", "/v2/health/ready")
_READING = ("GET", "HEAD")
_ID = re.compile(r"^[\w.:-]{1,128}$")


class RequestMiddleware:
    """Pure ASGI, so that a body is never held twice."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, token: str, open_paths: tuple[str, ...]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._token = token.encode()
        self._open = (*_OPEN, *open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = _identity(scope)
        started, status, began = time.perf_counter(), 500, False

        async def sending(message: Message) -> None:
            nonlocal status, began
            if message["type"] == "http.response.start":
                status, began = message["status"], True
                message = {**message, "headers": [*message["headers"], _header(identity)]}
            await send(message)

        try:
            self._check_token(scope)
            await self._app(scope, receive, sending)
        except RequestRefused as refused:
            await _refuse(refused, scope, receive, sending)
        except Exception:
            # No traceback and no path reaches a client; the log has them, under the same id.
            _log.exception("request failed", extra={"request_id": identity})
            if not began:
                error = RequestRefused(500, f"The server failed. Request id: {identity}.")
                await _refuse(error, scope, receive, sending)
        finally:
            self._note(scope, status, time.perf_counter() - started, identity)

    def _check_token(self, scope: Scope) -> None:
        is_open = scope["path"] in self._open and scope["method"] in _READING
        if not self._token or is_open:
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        if not hmac.compare_digest(given, b"Bearer " + self._token):
            raise RequestRefused(401, "The request must bear the server's token.")

    def _note(self, scope: Scope, status: int, seconds: float, identity: str) -> None:
        # The handlers' names: a path would make a series of every model that is asked for.
        route = getattr(scope.get("endpoint"), "__name__", "other")
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        _log.info(
            "request",
            extra={
                "request_id": identity,
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "ms": round(1000 * seconds, 1),
            },
        )


def _identity(scope: Scope) -> str:
    """The client's own id of the request, or a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if is_request_id(given) else uuid.uuid4().hex


def is_request_id(given: str) -> bool:
    """Whether a client's id of a request can be written to the log and back to the client."""
    return bool(_ID.match(given))


def _header(identity: str) -> tuple[bytes, bytes]:
    return b"x-request-id", identity.encode("latin-1")


async def _refuse(refused: RequestRefused, scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"retry-after": str(refused.retry_after)} if refused.retry_after else {}
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refused.status in (408, 413):
        headers["connection"] = "close"  # what is left of the body is not read
    response = json_response({"error": str(refused)}, refused.status, headers)
    await response(scope, receive, send)
