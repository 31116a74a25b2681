"""Reading configs, and what is said of those that cannot be used."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pipeline.config.default_file import default_yaml
from pipeline.config.load import ConfigError, load_config, parse_override, to_yaml
from pipeline.config.schema import Backbone, Config, Fits
from trainer.backbones.table import BACKBONES


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "birds.yaml"
        path.write_text(text)
        return path

    return write


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{this}: &{this} [{', '.join([f'*{last}'] * 9)}]"
    for last, this in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k0: 1}\n" + "\n".join(
    f"{this}: &{this} {{<<: [{', '.join([f'*{last}'] * 9)}]}}"
    for last, this in zip("abcdefgh", "bcdefghi", strict=True)
)

BAD_FILES = {
    "billion laughs": (LAUGHS, ["birds.yaml", "more than 100,000 values"]),
    "billion merges": (MERGES, ["birds.yaml", "more than 100,000 values"]),
    "laughs where a number should be": (
        "x: &x [1]\nhead: {units: [*x, *x]}",
        ["birds.yaml: head.units: [[1], [1]] is not allowed"],
    ),
    "alias in itself": ("a: &a [*a]", ["birds.yaml", "inside the value that it names"]),
    "depth": ("a: " + "[" * 5000, ["birds.yaml", "nested too deeply"]),
    "length": ("name: " + "x" * 2**20, ["birds.yaml: is larger than 1,048,576 bytes"]),
    "long value": ("head: {units: [" + "1, " * 999 + "1]}", ["head.units: [1, 1,", "… is not all"]),
    "absurd epochs": (
        "fits: {head: {max_epochs: 99999999999999999999999}}",
        ["fits.head.max_epochs: 99999999999999999999999", "less than or equal to 100000"],
    ),
    "absurd digits": ("head: {units: " + "9" * 5000 + "}", ["birds.yaml", "not valid YAML"]),
    "infinite rate": ("fits: {head: {learning_rate: .inf}}", ["learning_rate: inf", "finite"]),
    "impossible date": ("name: 2024-13-45", ["birds.yaml: not valid YAML"]),
    "key that is a number": ("1: 2", ["birds.yaml"]),
    "boundary": (
        "fits: {fine_tune: {boundary: mixed99}}",
        [
            "birds.yaml: fits.fine_tune.boundary: 'mixed99' is not a block of inception_v3.",
            "mixed0",
            "The recipe's choice is mixed8",
        ],
    ),
    "size": ("backbone: {image_size_px: 74}", ["backbone.image_size_px: 74", "at least 75"]),
    "key": (
        "heed: {units: 3}",
        ["birds.yaml: heed", "Did you mean head?", "Keys here: name, data"],
    ),
    "inner key": ("fits: {head: {patiense: 3}}", ["fits.head.patiense", "Did you mean patience?"]),
    "type": ("head: {units: many}", ["birds.yaml: head.units: 'many'", "valid integer"]),
    "range": ("head: {dropout: 1}", ["head.dropout: 1 ", "less than 1"]),
    "no change": (
        "augmentation: {colour: 0.0001}",
        ["augmentation.colour: 0.0001", "0.001 or more"],
    ),
    "choice": ("backbone: {name: vgg}", ["backbone.name: 'vgg'", "inception_v3", "resnet50_v2"]),
    "infinity": ("gate: {min_gain: .nan}", ["gate.min_gain", "finite"]),
    "duplicate": ("head:\n  units: 1\n  units: 2\n", ["birds.yaml:3:", "'units' appears twice"]),
    "syntax": ("name: thaw\nhead: [1\n", ["birds.yaml:3:", "not valid YAML"]),
    "list": ("- 1", ["birds.yaml: holds a list"]),
    "two at once": ("head: {units: -1}\ntrain: {seed: -1}", ["head.units: -1", "train.seed: -1"]),
    "both impossible": (
        "backbone: {image_size_px: 9}\nfits: {fine_tune: {boundary: nowhere}}",
        ["backbone.image_size_px: 9", "boundary: 'nowhere'"],
    ),
}


@pytest.mark.parametrize(("text", "parts"), BAD_FILES.values(), ids=BAD_FILES)
def test_message_names_file_key_value_and_what_is_allowed(written, text, parts):
    with pytest.raises(ConfigError) as error:
        load_config(written(text))

    for part in parts:
        assert part in str(error.value)


def test_message_tells_an_override_from_the_file(written):
    path = written("head: {units: -1}")

    with pytest.raises(ConfigError) as error:
        load_config(path, ["train.seed=-1"])

    assert f"{path}: head.units" in str(error.value)
    assert "--set: train.seed" in str(error.value)


@pytest.mark.parametrize("text", ["head.units", "=3", "head..units=3", "head.units={a:"])
def test_override_that_cannot_be_read_is_refused(text):
    with pytest.raises(ConfigError, match="--set"):
        load_config(None, [text])


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("number", ["1e-4", "1E-4", "1.0e-4", "0.0001"])
def test_every_way_to_write_a_number_is_a_number(written, number):
    text = f"fits: {{fine_tune: {{learning_rate: {number}}}}}"

    assert load_config(written(text)).fits.fine_tune.learning_rate == 1e-4
    override = f"fits.fine_tune.learning_rate={number}"
    assert load_config(None, [override]).fits.fine_tune.learning_rate == 1e-4


def test_override_wins_over_the_file_and_images_over_both(written):
    path = written("head: {units: 5}\ndata: {images: a}")

    config = load_config(path, ["head.units=7", "data.images=b"], images="c")

    assert (config.head.units, config.data.images) == (7, "c")


@pytest.mark.parametrize("name", BACKBONES)
def test_unset_size_and_boundary_are_the_backbones_own(name):
    config = load_config(None, [f"backbone.name={name}"])

    assert config.backbone.image_size_px == BACKBONES[name].default_size_px
    assert config.fits.fine_tune.boundary == BACKBONES[name].default_boundary


def test_config_never_changes():
    with pytest.raises(ValidationError):
        Config().head.units = 3


def test_what_is_unset_is_filled_in_without_changing_the_sections_that_were_given():
    fits = Fits()

    config = Config(backbone=Backbone(name="mobilenet_v2"), fits=fits)

    assert config.fits.fine_tune.boundary == BACKBONES["mobilenet_v2"].default_boundary
    assert config.backbone.image_size_px == 224
    assert fits.fine_tune.boundary is None


configs = st.builds(
    lambda name, units, rate, gain, seed, options: Config.model_validate(
        {
            "backbone": {"name": name},
            "head": {"units": units},
            "fits": {"head": {"learning_rate": rate}},
            "gate": {"min_gain": gain},
            "train": {"seed": seed},
            "beam": {"options": [f"--{option}" for option in options]},
        }
    ),
    st.sampled_from(sorted(BACKBONES)),
    st.integers(1, 10**5),
    st.floats(1e-12, 1e3),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 2**32 - 1),
    st.lists(st.text("abc_=1", min_size=1), max_size=3),
)


@given(configs)
def test_yaml_of_a_config_reads_back_as_the_same(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("config") / "same.yaml"
    path.write_text(to_yaml(config))

    assert load_config(path) == config


@given(configs)
def test_overrides_of_every_field_rebuild_the_config(config):
    sections = yaml.safe_load(to_yaml(config))
    overrides = [
        f"{section}={yaml.safe_dump(value, default_flow_style=True).removesuffix('...' + chr(10))}"
        for section, value in sections.items()
    ]

    assert load_config(None, overrides) == config


@given(st.lists(st.text("abcdef_", min_size=1), min_size=1), st.integers() | st.booleans())
def test_override_keeps_key_and_value(parts, value):
    key = ".".join(parts)

    assert parse_override(f"{key}={yaml.safe_dump(value)}") == (key, value)


def test_true_is_no_number():
    with pytest.raises(ConfigError, match=r"head\.units"):
        load_config(None, ["head.units=true"])


def test_key_that_is_a_list_is_refused(written):
    with pytest.raises(ConfigError, match=r"birds\.yaml"):
        load_config(written("? [a]\n: 1\n"))


def test_endless_file_is_refused_without_reading_it_to_its_end():
    with pytest.raises(ConfigError, match="/dev/zero: is larger than"):
        load_config(Path("/dev/zero"))


def test_laughs_in_an_override_are_refused():
    with pytest.raises(ConfigError, match="--set head"):
        load_config(None, ["head={a: &a [1], b: [*a, &b [*b]]}"])


def _whole_numbers(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _whole_numbers(inner, f"{prefix}{name}.")
        elif inner is int or int in get_args(inner):
            yield prefix + name


@pytest.mark.parametrize("key", _whole_numbers(Config))
def test_absurd_whole_numbers_are_refused_everywhere(key):
    with pytest.raises(ConfigError, match=key):
        load_config(None, [f"{key}=99999999999999999999999"])


def test_schedule_fills_in_what_is_not_set():
    recipe, fast = load_config(None), load_config(None, ["fits.schedule=fast"])

    assert (recipe.fits.fine_tune.learning_rate, recipe.fits.fine_tune.max_epochs) == (1e-4, 50)
    assert (fast.fits.fine_tune.learning_rate, fast.fits.fine_tune.max_epochs) == (1e-3, 0)


def test_what_is_set_goes_over_the_schedule(written):
    path = written("fits: {schedule: fast, fine_tune: {max_epochs: 9}}")

    config = load_config(path, ["fits.fine_tune.learning_rate=0.5"])

    assert config.fits.fine_tune.max_epochs == 9
    assert config.fits.fine_tune.learning_rate == 0.5


def test_default_file_with_another_schedule_has_that_schedules_values():
    text = default_yaml().replace("schedule: recipe", "schedule: fast")

    config = Config.model_validate(yaml.safe_load(text))

    assert config == load_config(None, ["fits.schedule=fast"])


def test_recipe_without_epochs_is_refused():
    with pytest.raises(ConfigError, match=r"max_epochs: It should be 1 or more with schedule: rec"):
        load_config(None, ["fits.fine_tune.max_epochs=0"])


def test_unknown_schedule_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match=r"fits\.schedule: 'quick'.*'recipe' or 'fast'"):
        load_config(None, ["fits.schedule=quick"])
