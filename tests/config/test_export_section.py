"""The section for exports: which formats there are, and what may be asked for."""

import subprocess
import sys
from typing import get_args

import pytest

from components.exporter.formats import FORMATS
from pipeline.config.export import FormatName
from pipeline.config.load import ConfigError, load_config
from pipeline.node_args import export_rule


def test_formats_of_the_config_are_those_of_the_table():
    assert list(get_args(FormatName)) == list(FORMATS)


def test_nothing_is_exported_unless_it_is_asked_for():
    assert load_config(None).export.formats == []


def test_rule_is_what_the_config_says():
    settings = ["export.formats=[onnx, tflite_int8]", "export.int8_max_loss=2.5"]

    rule = export_rule(load_config(None, settings))

    assert (rule.formats, rule.int8_max_loss) == (("onnx", "tflite_int8"), 2.5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("export.formats=[onnx, coreml]", r"export\.formats\.1: 'coreml' is not allowed.*'onnx'"),
        ("export.formats=[onnx, onnx]", "It should name each format once"),
        ("export.formats=onnx", "export.formats: 'onnx' is not allowed"),
        ("export.int8_max_loss=-1", "export.int8_max_loss: -1 is not allowed"),
        ("export.int8_max_loss=101", "export.int8_max_loss: 101 is not allowed"),
    ],
)
def test_other_values_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [setting])


def test_the_table_is_light_to_import():
    code = "import sys, components.exporter.formats; print('tensorflow' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)

    assert done.stdout.strip() == "False"
