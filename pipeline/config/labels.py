"""Labels for accounting: the form that Kubernetes accepts, and the stricter one of Google Cloud."""

import re
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_KEY = re.compile(rf"(?=[^/]{{1,253}}/|[^/]+$)({_DNS_LABEL}(\.{_DNS_LABEL})*/)?{_NAME}")
_VALUE = re.compile(rf"({_NAME})?")

# https://cloud.google.com/resource-manager/docs/labels-overview#requirements
_GOOGLE_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_GOOGLE_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
MAX_GOOGLE_LABELS = 64


def _are_labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if not (_KEY.fullmatch(key) and _VALUE.fullmatch(value)):
            raise PydanticCustomError(
                "label",
                "{label} is no label. Key and value have up to 63 letters, digits, '-', '_' and "
                "'.', and begin and end with a letter or a digit; a key may have a domain and "
                "'/' before it.",
                {"label": f"{key}: {value}"},
            )
    return labels


Labels = Annotated[dict[str, str], AfterValidator(_are_labels)]


def not_for_google(labels: dict[str, str]) -> list[str]:
    """The labels that Google Cloud rejects although Kubernetes accepts them, as `key: value`."""
    return [
        f"{key}: {value}"
        for key, value in labels.items()
        if not (_GOOGLE_KEY.fullmatch(key) and _GOOGLE_VALUE.fullmatch(value))
    ]
