"""Generates `configs/default.yaml`: every key with its description and its default.

After changing a description or a default: `thaw config --defaults > configs/default.yaml`.
"""

import inspect
import textwrap
from collections.abc import Iterator
from typing import Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.schema import Config

_WIDTH = 98
_INDENT = "  "
_HEADER = """\
# Every setting with its default. Copy what you change into a file of your own:
#
#   thaw run --images photos --config mine.yaml --output out
#
# `thaw config --config mine.yaml` prints the effective values of a file;
# `thaw config --schema` prints a JSON schema with which editors complete and check it.
#
# This file is generated from the descriptions in pipeline/config:
# `thaw config --defaults > configs/default.yaml` writes it again.
"""


def default_yaml() -> str:
    """Returns all settings as commented YAML: the text of `configs/default.yaml`."""
    return "\n".join([_HEADER, *_section(Config, "")])


def _section(section: type[BaseModel], indent: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            kind = type(default)
            yield from _comment(inspect.getdoc(kind) or "", indent)
            yield f"{indent}{name}:"
            yield from _section(kind, indent + _INDENT)
        else:
            yield from _comment(f"{field.description}{_choices(field)}", indent)
            yield f"{indent}{name}: {_value(default)}"
        if not indent:
            yield ""


def _comment(text: str, indent: str) -> Iterator[str]:
    """Wraps a text into comment lines. Paragraphs are joined."""
    for line in textwrap.wrap(" ".join(text.split()), _WIDTH - len(indent)):
        yield f"{indent}# {line}"


def _choices(field: FieldInfo) -> str:
    """Lists the values of a setting that has only a few."""
    if get_origin(field.annotation) is not Literal:
        return ""
    return f" One of: {', '.join(get_args(field.annotation))}."


def _value(default: object) -> str:
    """Returns a value as YAML, on one line."""
    text = yaml.safe_dump(default, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip()
