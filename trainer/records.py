"""Typed records that are written as JSON and read back, refused where they do not match.

Light to import: no TensorFlow.
"""

import functools
import json
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from trainer.errors import ThawError

Json = dict[str, Any]


class Record:
    """A dataclass that is written and read as JSON. Keys it does not know are refused."""

    __pydantic_config__ = ConfigDict(extra="forbid")


class Mismatch(ValueError):
    """A text is not the JSON of a record; the message names each key that is wrong."""


_R = TypeVar("_R", bound=Record)

_PROBLEMS = {"unexpected_keyword_argument": "unknown", "missing": "missing"}


def to_json(record: Record) -> Json:
    """The record as plain values."""
    return asdict(record)  # type: ignore[call-overload]


def parse(kind: type[_R], text: str | bytes) -> _R:
    """Reads a record from JSON.

    Raises:
      Mismatch: naming each key that is unknown, missing or of another type.
    """
    try:
        # From JSON text: there pydantic is strict about types, but takes a list for a tuple.
        return _reader(kind).validate_json(text, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, one['loc']))}: {_PROBLEMS.get(one['type'], one['msg'])}"
            for one in error.errors()
        ]
        raise Mismatch("; ".join(problems)) from error


def read(kind: type[_R], text: str | bytes, where: str) -> _R:
    """Reads a record that a node has written.

    Args:
      kind: class of the record.
      text: JSON.
      where: the file that the text is from, for the message.

    Raises:
      ThawError: naming each key that is unknown, missing or of another type.
    """
    try:
        return parse(kind, text)
    except Mismatch as error:
        raise ThawError(
            f"is not a {kind.__name__} as this version of Thaw writes it: {error}.",
            where=where,
            to_do="If the file is damaged, or another version has written it, delete the folder "
            "that it is in, and run the same command again.",
        ) from error


def dumps(record: Record, indent: int | None = None) -> str:
    """The record as JSON; `read` undoes it."""
    return json.dumps(to_json(record), indent=indent)


@functools.cache
def _reader(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
