"""The command line apart from runs: start-up, usage, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HEAVY = ("tensorflow", "tfx", "tf_keras", "apache_beam", "pandas", "sklearn", "matplotlib")


def thaw(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli.main", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_importing_the_command_line_loads_nothing_heavy():
    code = f"import sys, pipeline.cli.main; print([m for m in {HEAVY} if m in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_a_bad_config_is_refused_before_anything_heavy_is_loaded(tmp_path):
    code = (
        "import sys, pipeline.cli.main, typer\n"
        "sys.argv[1:] = ['run', '--output', 'x', '--set', 'head.units=x']\n"
        "try: pipeline.cli.main.main()\n"
        f"finally: print([m for m in {HEAVY} if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stdout.strip()) == (2, "[]")


def test_module_of_the_same_name_on_pythonpath_is_named(tmp_path):
    (tmp_path / "trainer.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}

    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.main import main; main()", "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"thaw: the package 'trainer' is not Thaw's, but {tmp_path / 'trainer.py'}.",
        "  Remove its folder from PYTHONPATH, or start thaw from another folder.",
    ]


def test_version():
    from pipeline import __version__

    assert thaw("--version").stdout.strip() == f"thaw {__version__}"


@pytest.mark.parametrize(
    "command", ["run", "inspect", "cache", "predict", "report", "config", "sample-images"]
)
def test_help_explains_each_command(command):
    done = thaw(command, "--help")

    assert done.returncode == 0
    assert f"Usage: python -m pipeline.cli.main {command}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), "--output"),
        (("fly",), "fly"),
        (("run", "--output", "o", "--set", "head.units=x"), "head.units"),
        (("run", "--output", "o"), "--images"),
        (("run", "--output", "o", "--images", "/none"), "/none"),
        (("run", "--output", "o", "--images", ""), "no images: give their folder"),
        (("config", "--config", "none.yaml"), "none.yaml"),
        (("predict", "x.png", "--model", "/none"), "/none"),
        (("sample-images", "o", "--per-class", "0"), "--per-class"),
    ],
)
def test_bad_usage_exits_with_2_and_names_the_culprit(arguments, words):
    done = thaw(*arguments)

    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_config_prints_the_effective_config():
    done = thaw("config", "--set", "head.units=7")

    assert yaml.safe_load(done.stdout)["head"]["units"] == 7


def test_defaults_are_the_text_of_the_default_config():
    done = thaw("config", "--defaults")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "configs" / "default.yaml").read_text(encoding="utf-8")


def test_schema_is_json_and_closed():
    assert json.loads(thaw("config", "--schema").stdout)["additionalProperties"] is False
