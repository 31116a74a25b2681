"""Reads requests: bounded in size and in time, JSON or nothing."""

import asyncio
import json

from starlette.requests import ClientDisconnect, Request

from serving.server.refused import RequestRefused
from serving.server.settings import ServerSettings
from trainer.records import Json


async def read_body(request: Request, settings: ServerSettings) -> bytes:
    """Reads a body that is neither too large nor too slow.

    Raises:
      RequestRefused: 413 or 408.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > settings.max_body_bytes:
        raise _too_large(settings)
    try:
        return await asyncio.wait_for(_collect(request, settings), settings.timeout_secs)
    except asyncio.TimeoutError:
        raise RequestRefused(
            408, f"The request did not arrive within {settings.timeout_secs:g} s."
        ) from None
    except ClientDisconnect:
        raise RequestRefused(400, "The client has gone.") from None


async def _collect(request: Request, settings: ServerSettings) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > settings.max_body_bytes:
            raise _too_large(settings)
    return bytes(body)


def _too_large(settings: ServerSettings) -> RequestRefused:
    limit = settings.max_body_bytes / 2**20
    return RequestRefused(413, f"The request is larger than {limit:g} MiB.")


def parse_json(body: bytes) -> Json:
    """Reads an object.

    Raises:
      RequestRefused: if it is none.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise RequestRefused(400, f"The request is not valid JSON: {reason}.") from None
    if not isinstance(value, dict):
        raise RequestRefused(400, "The request must be a JSON object.")
    return value


def text_of(body: Json, key: str) -> str:
    """A text of a request; empty if it is not there.

    Raises:
      RequestRefused: if it is something else.
    """
    value = body.get(key, "")
    if not isinstance(value, str):
        raise RequestRefused(400, f"'{key}' must be a string.")
    return value
