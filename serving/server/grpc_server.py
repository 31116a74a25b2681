"""The gRPC port: TensorFlow Serving's services and the Open Inference Protocol's on one server.

It runs in the event loop of the HTTP server, over the same versions, batches and limits.
"""

import asyncio
import hmac
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from serving.server.metrics import Metrics
from serving.server.middleware import is_request_id
from serving.server.oip_grpc import OPEN_METHODS, add_oip
from serving.server.refused import RequestRefused
from serving.server.service import Service
from serving.server.tf_grpc import add_tf_serving

_log = logging.getLogger("thaw.serve")

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

Handler = Callable[[Any, grpc.aio.ServicerContext], Awaitable[Any]]


async def start_grpc(
    service: Service, metrics: Metrics, address: str
) -> tuple[grpc.aio.Server, int]:
    """Starts to answer; inside a running event loop.

    Args:
      service: what answers.
      metrics: counts calls, with those of HTTP.
      address: `host:port`; port 0: any that is free.

    Returns:
      The server, and the port that it listens on.

    Raises:
      RuntimeError: if the address cannot be listened on.
    """
    server = grpc.aio.server(
        interceptors=[_Gate(metrics, service.settings.token)],
        options=[
            ("grpc.max_receive_message_length", service.settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else a second server would share the port in silence
        ],
    )
    add_tf_serving(service, server)
    add_oip(service, server)
    port = server.add_insecure_port(address)
    await server.start()
    return server, port


class _Gate(grpc.aio.ServerInterceptor):
    """What the middleware does for HTTP: token, request id, errors, metrics and log."""

    def __init__(self, metrics: Metrics, token: str) -> None:
        self._metrics = metrics
        self._token = token.encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Wraps the handler of one call. gRPC itself answers methods that do not exist."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = handler_call_details.method
        metadata = dict(handler_call_details.invocation_metadata or ())

        async def answer(request: bytes, context: grpc.aio.ServicerContext) -> Any:
            return await self._answer(request, context, handler, method, metadata)

        # The request stays bytes until `_answer`: gRPC calls a message that it cannot read UNKNOWN.
        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=handler.response_serializer
        )

    async def _answer(
        self,
        request: bytes,
        context: grpc.aio.ServicerContext,
        handler: grpc.RpcMethodHandler,
        method: str,
        metadata: dict[str, str | bytes],
    ) -> Any:
        given = str(metadata.get("x-request-id", ""))
        identity = given if is_request_id(given) else uuid.uuid4().hex
        started, code = time.perf_counter(), grpc.StatusCode.INTERNAL
        try:
            context.set_trailing_metadata(_trailers(identity))
            self._check_token(method, metadata)
            answer = await handler.unary_unary(_read(handler, request), context)
            code = grpc.StatusCode.OK
            return answer
        except RequestRefused as refused:
            code = _CODES.get(refused.status, grpc.StatusCode.INTERNAL)
            context.set_trailing_metadata(_trailers(identity, refused.retry_after))
            await context.abort(code, str(refused))
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED  # by the client, or its deadline
            raise
        except Exception:
            _log.exception("request failed", extra={"request_id": identity})
            await context.abort(code, f"The server failed. Request id: {identity}.")
        finally:
            self._note(method, code, time.perf_counter() - started, identity)

    def _check_token(self, method: str, metadata: dict[str, str | bytes]) -> None:
        if not self._token or method in OPEN_METHODS:
            return
        given = metadata.get("authorization", "")
        given = given if isinstance(given, bytes) else given.encode()
        if not hmac.compare_digest(given, b"Bearer " + self._token):
            raise RequestRefused(401, "The request must bear the server's token.")

    def _note(self, method: str, code: grpc.StatusCode, seconds: float, identity: str) -> None:
        self._metrics.requests.labels(method, code.name).inc()
        self._metrics.seconds.labels(method).observe(seconds)
        _log.info(
            "request",
            extra={
                "request_id": identity,
                "method": "gRPC",
                "path": method,
                "status": code.name,
                "ms": round(1000 * seconds, 1),
            },
        )


def _read(handler: grpc.RpcMethodHandler, request: bytes) -> Any:
    try:
        return handler.request_deserializer(request)
    except DecodeError:
        raise RequestRefused(400, "The request is not a valid message of this method.") from None


def _trailers(identity: str, retry_after: int | None = None) -> tuple[tuple[str, str], ...]:
    """The request's id, and when to try again, as gRPC's clients read it:
    https://github.com/grpc/proposal/blob/master/A6-client-retries.md.
    """
    hint = () if retry_after is None else (("grpc-retry-pushback-ms", str(1000 * retry_after)),)
    return (("x-request-id", identity), *hint)
