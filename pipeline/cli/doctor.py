"""Checks this machine: what is installed, what is missing, and what to do about it.

Imports nothing heavy: what must be loaded to be checked is loaded in a child process.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.exporter.formats import FORMATS, require_packages
from pipeline.local.preflight import keras_models_dir, reachable
from trainer.backbones.table import BACKBONES, Backbone
from trainer.errors import ThawError

Status = Literal["ok", "warn", "fail"]

SUITABLE_PYTHONS = ((3, 10), (3, 11), (3, 12), (3, 13))
DISTRIBUTIONS = (
    "tfx",
    "tensorflow",
    "tf-keras",
    "apache-beam",
    "ml-metadata",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "kfp",
)
# TFX depends on it below Python 3.12 only; only Kubeflow and Vertex AI need it.
KUBEFLOW_ONLY = "kfp"
# The modules that scripts/old_glibc.py edits where glibc is older than 2.38.
EXTENSIONS = {
    "ml-metadata": "ml_metadata.metadata_store.pywrap.metadata_store_extension",
    "tensorflow-data-validation": (
        "tensorflow_data_validation.pywrap.tensorflow_data_validation_extension"
    ),
}
SET_UP_AGAIN = "Recreate the environment: rm .venv/.thaw-setup && make setup"

# A run stores the images twice, their trunk features and several models.
_WANTED_DISK_BYTES = 10 * 2**30
_NEEDED_DISK_BYTES = 2 * 2**30
_WANTED_MEMORY_BYTES = 8 * 2**30
_NEEDED_MEMORY_BYTES = 3 * 2**30
_WANTED_CORES = 2
_LOAD_TIMEOUT_SECS = 120

_DEVICES_CODE = """
import json, tensorflow as tf
print("devices=" + json.dumps([[d.device_type, d.name] for d in tf.config.list_physical_devices()]))
"""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
      name: what was checked.
      status: `fail` prevents every run; `warn` may slow down or prevent some runs.
      found: what was found, as shown to the user.
      advice: what to do about it; empty if there is nothing to do.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def checks() -> list[Check]:
    """Runs every check. Takes a few seconds, because a child process loads TensorFlow.

    Example:
      raise SystemExit(show(checks()))
    """
    # These wait for a child process or the network, so they run at the same time.
    with ThreadPoolExecutor() as pool:
        extensions = [pool.submit(check_extension, *pair) for pair in EXTENSIONS.items()]
        devices = pool.submit(check_devices)
        weights = [pool.submit(check_weights, backbone) for backbone in BACKBONES.values()]
        return [
            check_python(platform.python_implementation(), sys.version_info[:2]),
            check_platform(platform.system(), platform.machine(), platform.libc_ver()),
            *(check_version(name) for name in DISTRIBUTIONS),
            check_formats(),
            *(extension.result() for extension in extensions),
            devices.result(),
            *(weight.result() for weight in weights),
            check_disk(Path.cwd()),
            check_memory(),
            check_cores(),
        ]


def show(results: Sequence[Check], console: Console | None = None) -> int:
    """Prints the checks as a table, then the advice. Returns 1 if a check failed, else 0."""
    console = console or Console()
    table = Table("", "check", "found", box=None, pad_edge=False)
    marks = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}
    for check in results:
        table.add_row(marks[check.status], escape(check.name), escape(check.found))
    console.print(table)
    advised = [check for check in results if check.advice]
    for check in advised:
        console.print(f"\n{marks[check.status]} {escape(check.name)}\n  {escape(check.advice)}")
    if not advised:
        console.print("\nNo problems found.")
    return int(any(check.status == "fail" for check in results))


def check_python(implementation: str, version: tuple[int, ...]) -> Check:
    """Checks that TFX has wheels for this interpreter."""
    found = f"{implementation} {'.'.join(map(str, version))}"
    if implementation == "CPython" and tuple(version) in SUITABLE_PYTHONS:
        return Check("Python", "ok", found)
    return Check(
        "Python",
        "fail",
        found,
        "Thaw needs CPython 3.10 to 3.13. Choose one: make setup PYTHON=/path/to/python3.11",
    )


def check_platform(system: str, machine: str, libc: tuple[str, str]) -> Check:
    """Checks that TFX has wheels for this system."""
    found = " ".join(part for part in (system, machine, *libc) if part)
    if (system, machine) not in {("Linux", "x86_64"), ("Darwin", "arm64")}:
        return Check(
            "platform", "fail", found, "TFX has wheels for Linux on x86_64 and macOS on arm64 only."
        )
    if system == "Linux" and libc[0] != "glibc":
        return Check(
            "platform",
            "fail",
            found,
            "The wheels need glibc: use Debian, Ubuntu or a similar system.",
        )
    return Check("platform", "ok", found)


def check_version(distribution: str) -> Check:
    """Checks that a package is installed, and finds its version."""
    try:
        return Check(distribution, "ok", metadata.version(distribution))
    except metadata.PackageNotFoundError:
        if distribution == KUBEFLOW_ONLY and sys.version_info >= (3, 12):
            return Check(
                distribution,
                "warn",
                "not installed",
                "Kubeflow and Vertex AI need it, but TFX installs it below Python 3.12 only.\n"
                "  To use them: make setup PYTHON=/path/to/python3.11",
            )
        return Check(distribution, "fail", "not installed", SET_UP_AGAIN)


def check_formats() -> Check:
    """Finds the formats that a model can be exported to: the packages for them are optional."""
    found, missing = [], set()
    for name, one in FORMATS.items():
        try:
            require_packages([name])
            found.append(name)
        except ThawError:
            missing.add(one.extra)
    more = f'for more: pip install "thaw[{",".join(sorted(missing))}]"' if missing else ""
    return Check("export formats", "ok", "; ".join(filter(None, [", ".join(found), more])))


def check_extension(distribution: str, module: str) -> Check:
    """Checks that the extension module of a wheel loads."""
    name = f"{distribution} loads"
    ok, output = _child(f"import {module}")
    if ok:
        return Check(name, "ok", "yes")
    return Check(name, "fail", _last_line(output), SET_UP_AGAIN)


def check_devices() -> Check:
    """Lists the devices that TensorFlow can use."""
    ok, output = _child(_DEVICES_CODE)
    line = next((line for line in output.splitlines() if line.startswith("devices=")), None)
    if not ok or line is None:
        return Check("devices", "fail", _last_line(output), SET_UP_AGAIN)
    kinds = [kind for kind, _ in json.loads(line.removeprefix("devices="))]
    found = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    if "GPU" not in kinds and shutil.which("nvidia-smi"):
        return Check(
            "devices",
            "warn",
            found,
            "There is an NVIDIA driver, but TensorFlow sees no GPU. Install the CUDA libraries:\n"
            "  .setup/uv*/bin/uv pip install --python .venv/bin/python 'tensorflow[and-cuda]'",
        )
    return Check("devices", "ok", found)


def check_weights(backbone: Backbone) -> Check:
    """Checks that a backbone's ImageNet weights are cached or can be downloaded."""
    name = f"ImageNet weights of {backbone.name}"
    size_px = backbone.default_size_px
    cached = keras_models_dir() / backbone.imagenet_file(size_px)
    if cached.is_file():
        return Check(name, "ok", f"in {cached.parent}")
    url = backbone.imagenet_url(size_px)
    if reachable(url):
        return Check(name, "ok", "can be downloaded")
    return Check(
        name,
        "warn",
        "not on this machine, and the download server cannot be reached",
        f"Download {url}\n  to {cached},\n"
        "  or set backbone.weights to a weights file of your own, or to random.",
    )


def check_disk(folder: Path) -> Check:
    """Checks that the folder has room for a run's intermediate files."""
    free = shutil.disk_usage(folder).free
    return _amount(
        "free disk", free, _NEEDED_DISK_BYTES, _WANTED_DISK_BYTES, f"Free some space in {folder}."
    )


def check_memory() -> Check:
    """Checks that a run fits into the memory that is available now."""
    return _amount(
        "available memory",
        psutil.virtual_memory().available,
        _NEEDED_MEMORY_BYTES,
        _WANTED_MEMORY_BYTES,
        "Close other programs, or reduce train.global_batch_size.",
    )


def check_cores() -> Check:
    """Counts the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if (cores or 1) >= _WANTED_CORES:
        return Check("CPU cores", "ok", str(cores))
    return Check("CPU cores", "warn", str(cores), "One core is slow. Give this process more cores.")


def _amount(name: str, amount: int, needed: int, wanted: int, advice: str) -> Check:
    found = f"{amount / 2**30:.1f} GiB"
    if amount >= wanted:
        return Check(name, "ok", found)
    advice = f"{wanted / 2**30:.0f} GiB are recommended. {advice}"
    return Check(name, "fail" if amount < needed else "warn", found, advice)


def _child(code: str) -> tuple[bool, str]:
    """Runs code in another Python. Returns whether it succeeded, and what it printed."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **quiet},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_LOAD_TIMEOUT_SECS,
        )
    except subprocess.TimeoutExpired:
        return False, f"timed out after {_LOAD_TIMEOUT_SECS} s"
    return done.returncode == 0, done.stdout or f"ended with status {done.returncode}"


def _last_line(output: str) -> str:
    return (output.strip().splitlines() or ["no output"])[-1]
