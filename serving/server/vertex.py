"""Vertex AI's contract for custom containers.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements: the variables
AIP_HTTP_PORT, AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE and AIP_STORAGE_URI; `instances` to
`predictions` of equal length.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.server.refused import RequestRefused
from serving.server.requests import parse_json, read_body, text_of
from serving.server.service import Service


@dataclass(frozen=True)
class VertexSettings:
    """What Vertex AI tells a container.

    Attributes:
      port: to listen on.
      health_route: answers 200 once requests can be answered.
      predict_route: takes requests.
      storage_uri: folder of the model's files, on Google Cloud Storage; empty: the container has
        them.
    """

    port: int
    health_route: str
    predict_route: str
    storage_uri: str


def from_environment(environ: Mapping[str, str] = os.environ) -> VertexSettings | None:
    """The settings that this process was started with; None: not by Vertex AI."""
    if "AIP_PREDICT_ROUTE" not in environ:
        return None
    return VertexSettings(
        port=int(environ.get("AIP_HTTP_PORT", "8080")),
        health_route=environ.get("AIP_HEALTH_ROUTE", "/health"),
        predict_route=environ["AIP_PREDICT_ROUTE"],
        storage_uri=environ.get("AIP_STORAGE_URI", ""),
    )


@contextmanager
def fetched(storage_uri: str) -> Iterator[str]:
    """The model's files, copied to this machine for as long as they are served.

    Args:
      storage_uri: folder of a SavedModel, or of its versions.

    Yields:
      The local folder.
    """
    from tfx.utils import io_utils

    with tempfile.TemporaryDirectory(prefix="thaw-model-") as folder:
        local = os.path.join(folder, "model")
        io_utils.copy_dir(storage_uri.rstrip("/"), local)
        yield local


def vertex_routes(service: Service, settings: VertexSettings) -> list[Route]:
    """Health and predictions, where Vertex AI asks for them."""

    async def health(request: Request) -> Response:
        return service.readiness()

    async def predict(request: Request) -> Response:
        body = parse_json(await read_body(request, service.settings))
        if "instances" not in body:
            raise RequestRefused(400, "The request must have 'instances'.")
        version = service.registry.current()
        parameters = body.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise RequestRefused(400, "'parameters' must be an object.")
        signature = version.signature(text_of(parameters, "signature_name"))
        return await service.predict_rows(version, signature, body["instances"])

    return [
        Route(settings.health_route, health),
        Route(settings.predict_route, predict, methods=["POST"]),
    ]
