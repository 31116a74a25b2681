"""The config files that come with the project."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.default_file import default_yaml
from pipeline.config.load import load_config
from pipeline.config.schema import Config

CONFIGS = Path(__file__).parents[2] / "configs"


def keys(values: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for name, value in values.items():
        found.add(prefix + name)
        if isinstance(value, dict):
            found |= keys(value, f"{prefix}{name}.")
    return found


def test_default_yaml_is_generated_from_the_descriptions():
    written = (CONFIGS / "default.yaml").read_text(encoding="utf-8")

    assert written == default_yaml(), "run: thaw config --defaults > configs/default.yaml"


def test_default_yaml_equals_the_defaults():
    assert load_config(CONFIGS / "default.yaml") == Config()


def test_default_yaml_mentions_every_field():
    written = yaml.safe_load((CONFIGS / "default.yaml").read_text())

    assert keys(written) == keys(Config().model_dump())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_config_file_loads(path):
    load_config(path)


def test_demo_needs_no_download():
    demo = load_config(CONFIGS / "demo.yaml")

    assert demo.backbone.weights == "random"
    assert demo.backbone.image_size_px == 299


def test_every_field_and_section_is_described():
    schema = Config.model_json_schema()

    sections = [schema, *schema["$defs"].values()]
    assert all(section.get("description") for section in sections)
    assert not [
        f"{section['title']}.{name}"
        for section in sections
        for name, field in section["properties"].items()
        if not field.get("description")
    ]


def test_generated_defaults_explain_each_key_above_it_and_list_the_choices():
    lines = default_yaml().splitlines()

    key = lines.index("    batch_norm: frozen")
    assert lines[key - 1].endswith("One of: frozen, train.")
    described = [
        line.lstrip().startswith("#")
        for line, following in itertools.pairwise(lines)
        if ":" in following and not following.lstrip().startswith("#")
    ]
    assert all(described)
    assert max(map(len, lines)) <= 100
