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
IMAGE = "kubeflow/requirements-image.txt"
PYTHON = {"python_version": "3.11", "python_full_version": "3.11.16"}
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
    hashes = "--require-hashes --requirement requirements-build.txt"
    wrong.write_text(DOCKERFILE.read_text().replace(hashes, "uv").replace("/build\n", "build\n"))

    assert lint(wrong) == ["DL3000", "DL3013"]  # a relative folder, an unpinned package


def test_the_image_does_not_run_as_root():
    users = [who for name, who in instructions() if name == "USER"]

    assert users[-1] == "1000"
    assert not [step for step in instructions()[-7:] if step[0] == "RUN"]


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


def locked(name: str) -> dict[str, str]:
    """Versions by name."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", text, re.MULTILINE))


def test_uv_is_the_one_that_the_set_up_uses(setup_env):
    assert f"uv=={locked('kubeflow/requirements-build.txt')['uv']}" == setup_env.UV


def test_every_file_that_is_installed_is_checked_against_its_hash():
    steps = [step for step in run_steps("pip install") if not step.endswith(" .")]

    assert len(steps) == 3
    assert all("--require-hashes" in step for step in steps)
    # What the packages without wheels are built with.
    assert "--build-constraints requirements-build.txt" in steps[1]
    for name in ("build", "image", "gpu"):
        text = (ROOT / f"kubeflow/requirements-{name}.txt").read_text(encoding="utf-8")
        packages = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", text, re.DOTALL | re.MULTILINE)
        assert packages
        assert [one for one in packages if "--hash=sha256:" not in one] == []


def test_the_base_is_pinned_by_its_digest():
    (base,) = [value for name, value in instructions() if name == "ARG"]

    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    bases = [value.split()[0] for name, value in instructions() if name == "FROM"]
    assert set(bases) <= {"${PYTHON_IMAGE}", "build-cpu", "base"}


def test_there_is_a_target_for_cpus_and_one_for_gpus():
    stages = [value.split(" AS ") for name, value in instructions() if name == "FROM"]

    assert stages[-2:] == [["base", "gpu"], ["base", "cpu"]]  # the last is the default
    copied_from = [value.split()[0] for name, value in instructions() if name == "COPY"][-2:]
    assert copied_from == ["--from=build-gpu", "--from=build-cpu"]


@pytest.mark.parametrize("name", ["build", "image", "gpu"])
def test_the_images_hold_no_other_versions_than_the_environment(name):
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    # Some packages have a version for each Python.
    here = set(re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", text, re.MULTILINE))
    known = {package for package, _ in here}
    image = locked(f"kubeflow/requirements-{name}.txt").items()

    assert image
    assert {one for one in image if one[0] in known} <= here, "run make lock"


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
    command = command.replace("--no-cache ", "")
    command = command.replace(" requirements-", f" {ROOT}/kubeflow/requirements-")
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
    (step,) = run_steps("-r requirements-image.txt")
    packages = resolve(step, tmp_path)

    assert "tensorflow==2.21.0" in packages
    assert "kubernetes==26.1.0" in packages
    assert set(packages) == {f"{name}=={v}" for name, v in locked(IMAGE).items()}
    assert not {"pytest", "ruff", "mypy"} & set(locked(IMAGE))


def test_the_image_holds_what_the_project_asks_for():
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (text,) = re.findall(r"^dependencies = (\[.*?^\])", pyproject, re.DOTALL | re.MULTILINE)
    asked = [Requirement(one) for one in re.findall(r'^  "([^"]*)"', text, re.MULTILINE)]
    wanted = [one for one in asked if not one.marker or one.marker.evaluate(PYTHON)]

    assert len(wanted) > 30
    for one in wanted:
        assert one.specifier.contains(locked(IMAGE)[one.name.lower()]), one


def test_the_gpu_image_adds_what_this_tensorflow_asks_for():
    text = (DOCKERFILE.parent / "requirements-gpu.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    asked = [Requirement(one) for one in importlib.metadata.requires("tensorflow") or []]
    cuda = [one for one in asked if one.marker and "and-cuda" in str(one.marker)]

    assert len(cuda) > 5
    for one in cuda:
        assert one.specifier.contains(pinned[one.name]), one


def test_the_command_is_there():
    command = [step for name, step in instructions() if name == "CMD"]

    assert json.loads(command[0])[0] == "thaw"
    assert Path(sys.executable).with_name("thaw").exists()


@pytest.mark.parametrize(
    ("image", "files"),
    [("cpu", ["image"]), ("gpu", ["image", "gpu"])],
)
def test_the_bill_of_materials_lists_what_is_locked(image, files, tmp_path):
    pytest.importorskip("cyclonedx_py")
    locks = [ROOT / f"kubeflow/requirements-{name}.txt" for name in files]
    (command,) = re.findall(
        r"^SBOM := \$\(BIN\)/cyclonedx-py (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    made = tmp_path / "bom.json"
    subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", *command.split(), "--no-validate"]
        + ["--output-file", str(made), "-"],
        input="".join(lock.read_text(encoding="utf-8") for lock in locks),
        text=True,
        check=True,
        cwd=ROOT,
    )
    bill = json.loads(made.read_text())

    expected = {
        f"pkg:pypi/{n}@{v}"
        for f in files
        for n, v in locked(f"kubeflow/requirements-{f}.txt").items()
    }
    assert {one["purl"] for one in bill["components"]} == expected
    assert bill["metadata"]["component"]["name"] == "thaw"
    assert all(one["externalReferences"][0]["hashes"] for one in bill["components"])
