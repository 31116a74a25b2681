"""The application: all protocols on one port."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.server.loaded import LoadedVersion
from serving.server.metrics import Metrics
from serving.server.middleware import RequestMiddleware
from serving.server.oip_rest import oip_routes
from serving.server.page import OPEN_PATHS, page_routes
from serving.server.refused import RequestRefused
from serving.server.registry import Registry
from serving.server.service import Service
from serving.server.settings import ServerSettings
from serving.server.tf_rest import tf_routes
from serving.server.vertex import VertexSettings, vertex_routes

_log = logging.getLogger("thaw.serve")

GRACE_SECS = 30
"""What has come in is answered within this time once the server has been asked to end."""


def make_app(
    model_dir: Path,
    settings: ServerSettings,
    vertex: VertexSettings | None = None,
    grpc_address: str = "",
) -> Starlette:
    """Makes the application; the model is loaded when it starts.

    Args:
      model_dir: folder of numbered versions, or one SavedModel.
      settings: names and limits.
      vertex: what Vertex AI asks for; None: it does not.
      grpc_address: `host:port` of the gRPC server that starts and ends with the application; port
        0: any that is free, which `app.state.grpc_port` then has. Empty: none.

    Raises:
      UnusableModel: when it starts, if there is no model.
    """
    metrics = Metrics()

    def note_version(version: LoadedVersion) -> None:
        metrics.version.set(version.number)

    registry = Registry(model_dir, settings.poll_secs, note_version, labels=settings.labels)
    service = Service(registry, settings, metrics)
    metrics.queued_rows.set_function(lambda: service.batcher.queued_rows)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        registry.start()
        service.start()
        async with _grpc(app, service, metrics, grpc_address):
            yield
        await service.stop()

    async def read_metrics(request: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    routes = [*tf_routes(service), *oip_routes(service), Route("/metrics", read_metrics)]
    if vertex:
        routes += vertex_routes(service, vertex)
    routes += page_routes(service)
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _explain})
    open_paths = (*OPEN_PATHS, *([vertex.health_route] if vertex else []))
    app.add_middleware(
        RequestMiddleware, metrics=metrics, token=settings.token, open_paths=open_paths
    )
    return app


@asynccontextmanager
async def _grpc(
    app: Starlette, service: Service, metrics: Metrics, address: str
) -> AsyncIterator[None]:
    """Answers over gRPC while the block runs, and then what has come in."""
    if not address:
        yield
        return
    from serving.server.grpc_server import start_grpc

    server, port = await start_grpc(service, metrics, address)
    app.state.grpc_port = port
    host = address.rpartition(":")[0]
    _log.info("listening", extra={"address": f"grpc://{host}:{port}"})
    yield
    await server.stop(GRACE_SECS)


async def _explain(request: Request, error: Exception) -> Response:
    """Starlette's own errors, such as an unknown path, in the words of the others."""
    assert isinstance(error, HTTPException)
    message = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.method} is not possible at {request.url.path}.",
    }.get(error.status_code, error.detail)
    raise RequestRefused(error.status_code, message)
