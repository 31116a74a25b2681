"""The image: linted, and what its steps name is there. No engine builds it here."""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

DOCKERFILE = ROOT / "kubeflow" / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


def lint(path: Path) -> list[str]:
    ran = subprocess.run([HADOLINT, "--format", "json", path], capture_output=True, text=True)
    return [one["code"] for one in json.loads(ran.stdout)]


def instructions() -> list[tuple[str, str]]:
    """(instruction, its arguments), comments and line breaks removed."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line]


def run_steps(text: str) -> list[str]:
    return [step for name, step in instructions() if name == "RUN" and text in step]


def test_the_linter_finds_nothing():
    assert lint(DOCKERFILE) == []


def test_the_linter_would_find_what_is_wrong(tmp_path):
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(
        DOCKERFILE.read_text().replace("uv==0.13.9", "uv").replace("/build\n", "build\n")
    )

    assert lint(wrong) == ["DL3013", "DL3000"]  # an unpinned package, a relative folder


def test_the_image_does_not_run_as_root():
    users = [who for name, who in instructions() if name == "USER"]

    assert users[-1] == "1000"
    assert not [step for step in instructions()[-4:] if step[0] == "RUN"]


def copied() -> list[str]:
    """What is copied out of the checkout."""
    steps = [step.split() for name, step in instructions() if name == "COPY"]
    return [source for step in steps if not step[0].startswith("--") for source in step[:-1]]


def test_what_is_copied_is_there_and_not_ignored():
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert source in allowed, source
    assert set(allowed) == set(copied())


def test_every_package_of_the_project_is_in_the_image():
    """As pyproject.toml names them: it includes what is below."""
    pyproject = (ROOT / "pyproject.toml").read_text()
    (names,) = re.findall(r"\[tool\.setuptools\.packages\.find\]\ninclude = (\[.*\])", pyproject)

    assert {name.strip("*") for name in json.loads(names)} <= set(copied())


def test_uv_is_the_one_that_the_set_up_uses(setup_env):
    (step,) = run_steps("pip install --no-cache-dir")

    assert step.endswith(setup_env.UV)


def test_the_wheels_of_newer_glibc_are_asked_for_as_the_set_up_does(setup_env):
    debian_12 = setup_env.platform_arguments("Linux", "x86_64", ("glibc", "2.36"))

    for step in run_steps("--python-platform"):
        assert " ".join(debian_12) in step
    assert len(run_steps("--python-platform")) == 2


def resolve(step: str, folder: Path) -> list[str]:
    """The packages that an install step asks for, from uv's cache, without installing any."""
    (uv,) = (ROOT / ".setup").glob("uv==*/bin/uv")
    python = folder / "venv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, python], check=True)
    command = step.split("uv pip install ", 1)[1].replace("/opt/thaw/", f"{python}/")
    command = command.replace("--no-cache ", "").replace("-r ", f"-r {ROOT}/")
    command = command.replace("--constraint ", f"--constraint {ROOT}/")
    command = command.replace(f"{ROOT}/requirements-gpu", f"{ROOT}/kubeflow/requirements-gpu")
    ran = subprocess.run(
        [uv, "pip", "install", "--offline", "--dry-run", *command.split()],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if "--offline" in ran.stderr or "network was disabled" in ran.stderr:
        pytest.skip("uv's cache does not hold the package index, as after a set-up elsewhere")
    assert ran.returncode == 0, ran.stderr
    return re.findall(r"^ \+ (\S+)$", ran.stderr, re.MULTILINE)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the image has Python 3.11")
@pytest.mark.skipif(sys.platform != "linux", reason="the image is Linux's")
def test_the_image_gets_what_is_locked_without_the_tools_of_development(tmp_path):
    if not list((ROOT / ".setup").glob("uv==*/bin/uv")):
        pytest.skip("the set-up has not installed uv in this checkout")
    (step,) = run_steps("-r pyproject.toml")
    packages = resolve(step, tmp_path)
    locked = re.findall(r"^([a-z0-9.-]+==[^ ;]+)", (ROOT / "requirements.txt").read_text(), re.M)

    assert "tensorflow==2.21.0" in packages
    assert "kubernetes==26.1.0" in packages
    assert set(packages) <= set(locked)
    assert not {"pytest", "ruff", "mypy"} & {one.split("==")[0] for one in packages}


def test_the_gpu_image_adds_what_this_tensorflow_asks_for():
    text = (DOCKERFILE.parent / "requirements-gpu.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    asked = [Requirement(one) for one in importlib.metadata.requires("tensorflow") or []]
    cuda = [one for one in asked if one.marker and "and-cuda" in str(one.marker)]

    assert len(cuda) > 5
    for one in cuda:
        assert one.specifier.contains(pinned[one.name]), one
    locked = dict(
        re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    )
    differing = {name for name, version in pinned.items() if locked.get(name, version) != version}
    assert differing == set(), "run make lock"


def test_the_command_is_there():
    command = [step for name, step in instructions() if name == "CMD"]

    assert json.loads(command[0])[0] == "thaw"
    assert Path(sys.executable).with_name("thaw").exists()
