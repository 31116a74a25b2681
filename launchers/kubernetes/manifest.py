"""The type of a Kubernetes object, or of a part of one."""

from datetime import datetime
from typing import Any

Manifest = dict[str, Any]
"""As the API server gives and takes it, in JSON's types."""


def seconds(stamp: str) -> float:
    """Turns a time of Kubernetes', RFC 3339, into seconds since 1970."""
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
