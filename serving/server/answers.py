"""Writes answers."""

import json
from typing import Any

from starlette.responses import Response


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer as JSON; NaN and Infinity as such, as TensorFlow Serving writes them."""
    content = json.dumps(value, separators=(",", ":")).encode()
    return Response(content, status, headers, media_type="application/json")
