"""What Beam's `--setup_file` sends to its workers: builds, installs, imports."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from ..conftest import ROOT

pytestmark = pytest.mark.slow

PACKAGES = ("components", "launchers", "pipeline", "serving", "trainer")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The project's files and nothing else: no build may help itself from the checkout."""
    folder = tmp_path_factory.mktemp("source") / "thaw"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def clean_python(source, tmp_path_factory) -> Path:
    """A Python that has the installed sdist and sees the dependencies, but no checkout."""
    folder = tmp_path_factory.mktemp("clean")
    build = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(folder)]
    subprocess.run(build, cwd=source, check=True)
    (sdist,) = folder.glob("thaw-*.tar.gz")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    (uv,) = sorted((ROOT / ".setup").glob("uv*/bin/uv"))[-1:]
    site = sysconfig.get_path("purelib")
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation"]
        + ["--python", python, sdist],
        env={**os.environ, "PYTHONPATH": site},
        check=True,
    )
    (purelib,) = (folder / "env" / "lib").glob("python*/site-packages")
    # As a path: .pth files in it, such as that of the editable checkout, are not read.
    (purelib / "dependencies.pth").write_text(site)
    return python


def run(python: Path, code: str) -> str:
    done = subprocess.run(
        [python, "-c", code], cwd=python.parent, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_every_module_and_template_is_installed(clean_python, source):
    installed = Path(run(clean_python, "import pipeline; print(pipeline.__file__)")).parents[1]

    assert clean_python.parents[1] in installed.parents
    for name in PACKAGES:
        expected = {path.relative_to(source) for path in (source / name).rglob("*.*")}
        found = {path.relative_to(installed) for path in (installed / name).rglob("*.*")}
        assert {path for path in found if path.suffix != ".pyc"} == expected


def test_a_worker_can_import_what_it_is_sent(clean_python):
    """The functions of a step travel by the name of their module."""
    where = run(
        clean_python,
        "import components.trunk_features.executor as e, trainer.preprocessing; print(e.__file__)",
    )

    assert Path(where).is_relative_to(clean_python.parents[1])
