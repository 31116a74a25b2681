"""The page at `/` to try the model on: its files, and what it asks the server for.

Its own files are open without a token: nothing in them is of this model. What it asks for is not.
"""

import io
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import numpy as np
import tensorflow as tf
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from serving.heat_maps import heat_map_of, overlay
from serving.model import ImageRefused, decodable
from serving.reasons import reason_of
from serving.server.answers import json_response
from serving.server.loaded import IMAGE_BYTES, LoadedVersion
from serving.server.page_model import (
    card_of,
    default_signature,
    describe,
    find_report,
    is_classifier,
)
from serving.server.refused import RequestRefused
from serving.server.requests import read_body
from serving.server.service import Service
from serving.server.tensors import to_rows
from trainer.export import EXPLANATION_SIGNATURE, HEAT_MAP
from trainer.process.quiet import quiet_stderr
from trainer.specs import ServedImages

_FILES = ("page.css", "page.js", "cards.js", "model.js", "server.js", "icon.svg")
OPEN_PATHS = ("/", *(f"/page/{name}" for name in _FILES))

_NOTHING_ELSE = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    f"connect-src 'self'; {_NOTHING_ELSE}"
)
# The report is one file: its style and its pictures are in it, and it has no script.
_REPORT_POLICY = (
    f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; {_NOTHING_ELSE}; sandbox"
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_HEAT_MAP_PX = 480
_MOST_DIGITS = 9


def page_routes(service: Service) -> list[Route]:
    """The page, and what it asks for. The functions' names are those of the metrics."""
    files = StaticFiles(packages=[("serving", "page")])

    async def page_file(request: Request) -> Response:
        name = request.url.path.rpartition("/")[2] or "index.html"
        response = await files.get_response(name, request.scope)
        # The browser asks whether it has the current one, by its ETag.
        return _guarded(response, {"content-security-policy": _PAGE_POLICY}, "no-cache")

    def page_model(request: Request) -> Response:
        return _guarded(json_response(describe(service.registry.current(), service.settings)))

    def page_report(request: Request) -> Response:
        path = find_report(service.registry.current())
        return _document(path, "report", "text/html", _REPORT_POLICY)

    def page_card(request: Request) -> Response:
        path = card_of(service.registry.current())
        return _document(path, "model card", "text/plain", "default-src 'none'; sandbox")

    async def page_predict(request: Request) -> Response:
        return _guarded(await _predict(request, service))

    async def page_heat_map(request: Request) -> Response:
        return _guarded(await _heat_map(request, service))

    return [
        Route("/", page_file),
        *(Route(f"/page/{name}", page_file) for name in _FILES),
        Route("/page/model", page_model),
        Route("/page/predict", page_predict, methods=["POST"]),
        Route("/page/heat_map", page_heat_map, methods=["POST"]),
        Route("/report", page_report),
        Route("/model_card", page_card),
    ]


def _guarded(
    response: Response, headers: Mapping[str, str] | None = None, cache: str = "no-store"
) -> Response:
    response.headers.update({**_HEADERS, "cache-control": cache, **(headers or {})})
    return response


def _document(path: Path | None, what: str, media_type: str, policy: str) -> Response:
    if path is None:
        raise RequestRefused(HTTPStatus.NOT_FOUND, f"The model that is served has no {what}.")
    response = FileResponse(path, media_type=f"{media_type}; charset=utf-8")
    return _guarded(response, {"content-security-policy": policy}, "no-cache")


async def _predict(request: Request, service: Service) -> Response:
    """Answers the bytes of one file as the API answers a request of one row."""
    version = service.registry.current()
    content = await _read_image(request, service, version)
    signature = version.signature("")
    answer = await service.batcher.run(version, signature, {IMAGE_BYTES: _row(content)})
    return json_response({"version": version.number, "predictions": to_rows(answer)})


async def _heat_map(request: Request, service: Service) -> Response:
    """Answers the bytes of one file with a picture of where the model sees the class `label_id`."""
    # The ids of classes are those of the version that has answered.
    version = service.registry.current(request.query_params.get("version", ""))
    label_id = _label_id(request)
    if version.images is None or EXPLANATION_SIGNATURE not in version.signatures:
        raise RequestRefused(HTTPStatus.NOT_FOUND, "The model that is served has no heat maps.")
    signature = version.signature(EXPLANATION_SIGNATURE)
    content = await _read_image(request, service, version)
    inputs = {IMAGE_BYTES: _row(content), "label_id": np.array([label_id], np.int64)}
    answer = await service.batcher.run(version, signature, inputs)
    picture = await service.in_reader(_draw, version.images, content, answer[HEAT_MAP][0])
    return Response(picture, media_type="image/jpeg")


def _label_id(request: Request) -> int:
    text = request.query_params.get("label_id", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "'label_id' must be the id of a class.")
    return int(text)


async def _read_image(request: Request, service: Service, version: LoadedVersion) -> bytes:
    """The file of a request, as the model decodes it.

    Raises:
      RequestRefused: with the reason, if it cannot be read.
    """
    if not is_classifier(default_signature(version)):
        raise RequestRefused(
            HTTPStatus.NOT_FOUND, "The model that is served does not classify images."
        )
    content = await read_body(request, service.settings)
    if version.images is None:
        return content
    try:
        return await service.in_reader(decodable, content, version.images)
    except ImageRefused as reason:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, str(reason)) from reason


def _row(content: bytes) -> np.ndarray:
    return np.array([content], object)


def _draw(images: ServedImages, content: bytes, heat: np.ndarray) -> bytes:
    """The heat over what the model saw, as a JPEG file."""
    try:
        with quiet_stderr():
            heat_map = heat_map_of(content, images, heat)
    except tf.errors.OpError as error:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, reason_of(error)) from error
    buffer = io.BytesIO()
    overlay(heat_map, _HEAT_MAP_PX).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
