"""The type of a Kubernetes object, or of a part of one."""

from typing import Any

Manifest = dict[str, Any]
"""As the API server gives and takes it, in JSON's types."""
