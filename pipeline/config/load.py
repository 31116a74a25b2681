"""Reads a config from YAML and the command line, and reports precisely what is wrong with it."""

import difflib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.schema import Config
from trainer.errors import ThawError

# A config has about a hundred values. A few lines of aliases can expand to millions of them
# ("billion laughs").
_MAX_FILE_BYTES = 2**20
_MAX_VALUES = 100_000
_MAX_SHOWN = 200


class ConfigError(ThawError):
    """The config cannot be used. The message lists every problem, one per paragraph."""


@dataclass(frozen=True)
class Source:
    """Where each value came from, for messages."""

    file: str
    overridden: frozenset[str]

    def of(self, key: str) -> str:
        """Returns what set `key`: the file, or `--set`."""
        by_option = any(
            f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}.")
            for name in self.overridden
        )
        return "--set" if by_option else self.file


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, except that repeated keys are rejected."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a word", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parse(text: str) -> Any:
    """Reads one YAML document.

    Raises:
      yaml.YAMLError: if it is not valid YAML, or is nested too deeply or expands too far.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count_values(node, {})
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits, an impossible date
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


def _count_values(node: yaml.Node, counts: dict[int, int | None]) -> int:
    """Counts the values of a node once every alias is replaced by what it refers to.

    Raises:
      yaml.YAMLError: if there are too many, or a value contains itself.
    """
    if id(node) in counts:
        known = counts[id(node)]
        if known is None:
            raise yaml.YAMLError("an alias is used inside the value that it names")
        return known
    counts[id(node)] = None
    total = 1 + sum(_count_values(child, counts) for child in _children(node))
    if total > _MAX_VALUES:
        raise yaml.YAMLError(f"it expands to more than {_MAX_VALUES:,} values")
    counts[id(node)] = total
    return total


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def load_config(
    path: Path | None, overrides: Sequence[str] = (), images: str | None = None
) -> Config:
    """Reads, overrides and validates a config.

    Example:
      config = load_config(Path("mine.yaml"), ["head.units=256"], images="photos")

    Args:
      path: a YAML file; None means the defaults.
      overrides: `section.key=value`, the value as YAML. They override the file.
      images: sets `data.images`, whatever the file and the overrides say.

    Raises:
      ConfigError: naming the file or `--set`, the key, its value and what is allowed.
    """
    values = _read_yaml(path) if path else {}
    overridden = set()
    for override in overrides:
        key, value = parse_override(override)
        _put(values, key, value, f"--set {key}")
        overridden.add(key)
    if images is not None:
        _put(values, "data.images", images, "--images")
    source = Source(str(path) if path else "config", frozenset(overridden))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = [_describe(details, source) for details in error.errors()]
        raise ConfigError("\n".join(problems)) from error


def parse_override(text: str) -> tuple[str, Any]:
    """Splits `a.b=value`; the value is read as YAML.

    Raises:
      ConfigError: if there is no `=`, or the value is not valid YAML.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise ConfigError(
            f"--set {text}: write --set section.key=value, "
            "such as --set fits.fine_tune.learning_rate=1e-5."
        )
    try:
        return key, _parse(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: the value is not valid YAML: {error}") from error


def to_yaml(config: Config) -> str:
    """Returns the effective config as YAML."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigError(
                f"{path}: is larger than {_MAX_FILE_BYTES:,} bytes, so it is not a config."
            )
        values = _parse(content.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not a text file in UTF-8.") from error
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_problem(path, error)) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: holds a {type(values).__name__}; a config is a mapping of keys to values."
        )
    return values


def _yaml_problem(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    return f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}."


def _put(values: dict[str, Any], key: str, value: Any, option: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if inner is None:
            inner = values[section] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{option}: {section} is a section, but it was set to a value.")
        values = inner
    values[last] = value


def _describe(details: ErrorDetails, source: Source) -> str:
    if details["type"] == "impossible":
        return "\n".join(
            line if line.startswith(" ") else f"{source.of(line.split(':')[0])}: {line}"
            for line in details["msg"].split("\n")
        )
    key = ".".join(str(part) for part in details["loc"])
    place = f"{source.of(key)}: {key}"
    if details["type"] == "extra_forbidden":
        return f"{place}: there is no such key. {_known_keys(details['loc'])}"
    value = details["input"]
    if details["type"] == "model_type":
        keys = _known_keys((*details["loc"], ""))
        return f"{place}: {_shown(value)} is not allowed. It is a section. {keys}"
    return f"{place}: {_shown(value)} is not allowed. {_allowed(details)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _allowed(details: ErrorDetails) -> str:
    message = details["msg"].removeprefix("Input ").removesuffix(".")
    message = message.replace("a valid boolean", "true or false")
    return (message[0].upper() + message[1:]).replace("Should", "It should") + "."


def _known_keys(loc: tuple[int | str, ...]) -> str:
    known = list(_section_at(loc[:-1]).model_fields)
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    return f"{hint}Keys here: {', '.join(known)}."


def _section_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    section: Any = Config
    for part in loc:
        section = _inside(section, part)
    return cast(type[BaseModel], section)


def _inside(kind: Any, part: int | str) -> Any:
    """The type of `part` of a section, or of a list or table of sections."""
    if get_origin(kind) is None:
        return kind.model_fields[str(part)].annotation
    inner = [one for one in get_args(kind) if one is not type(None)]
    return _inside(inner[0], part) if get_origin(kind) in (Union, UnionType) else inner[-1]
