"""Sets up `.venv` with everything the project needs; does nothing if that is done.

Needs a Python with pip (or venv) and nothing else; `make` runs it with the system's
python3. The environment's own Python may be another one: see `CANDIDATES`. It is made
anew when the lock, the project's metadata or these scripts change.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".setup"
STAMP = VENV / ".thaw-setup"

UV = "uv==0.13.9"
# 3.11 is what the project is tested on; TFX's pins allow the others.
CANDIDATES = ("python3.11", "python3.10", "python3.12", "python3.13", "python3")
SUITABLE = ("3.11", "3.10", "3.12", "3.13")
INPUTS = (
    "requirements.txt",
    "pyproject.toml",
    "setup.py",
    "scripts/setup_env.py",
    "scripts/old_glibc.py",
)


class SetupError(Exception):
    """Set-up cannot go on; the message says what is missing."""


def main() -> int:
    """Makes the environment if it is missing or out of date."""
    key = inputs_key(ROOT)
    asked = os.environ.get("PYTHON")
    try:
        if is_current(key, asked):
            return 0
        make_environment(asked)
    except SetupError as problem:
        print(f"set-up failed: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up interrupted; `make setup` starts it again", file=sys.stderr)
        return 130
    STAMP.write_text(key)
    print("set-up finished", flush=True)
    return 0


def is_current(key: str, asked: str | None) -> bool:
    """Whether a finished environment of these inputs is there, with the Python asked for."""
    inside = VENV / "bin" / "python"
    if not inside.exists() or not STAMP.exists() or STAMP.read_text() != key:
        return False
    return not asked or version_of(str(inside)) == version_of(choose_python(asked))


def inputs_key(root: Path) -> str:
    """Changes whenever the environment must be made anew."""
    digest = hashlib.sha256()
    for name in INPUTS:
        digest.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
    return digest.hexdigest()


def make_environment(asked: str | None) -> None:
    """Installs uv, makes the virtual environment and fills it from the lock."""
    check_platform(platform.system(), platform.machine())
    uv = str(find_uv())
    STAMP.unlink(missing_ok=True)
    python = choose_python(asked)
    say(f"making .venv with {python}")
    made = subprocess.run([uv, "venv", "--quiet", "--clear", "--python", python, str(VENV)])
    if made.returncode:
        raise SetupError(
            f"no environment could be made with Python {python}; see above.\n"
            f"  Thaw needs a CPython of {', '.join(SUITABLE)}: install one (Debian 12: apt-get "
            "install python3)\n  or name it: make setup PYTHON=/path/to/python3.11"
        )
    inside = str(VENV / "bin" / "python")
    say("installing the locked packages (4 GB; takes some minutes)")
    synced = subprocess.run(
        [
            *(uv, "pip", "sync", "--quiet", "--require-hashes", "--python", inside),
            "--compile-bytecode",  # half a minute once; importing TFX takes 7 s in place of 18
            *platform_arguments(platform.system(), platform.machine(), platform.libc_ver()),
            str(ROOT / "requirements.txt"),
        ]
    )
    if synced.returncode:
        raise SetupError(install_advice(inside))
    run(
        [
            *(uv, "pip", "install", "--quiet", "--python", inside, "--no-deps", "--no-index"),
            *("--no-build-isolation", "--editable", str(ROOT)),
        ],
        "the project itself could not be installed.",
    )
    (site_packages,) = VENV.glob("lib/python3.*/site-packages")
    run(
        [inside, str(ROOT / "scripts" / "old_glibc.py"), str(site_packages)],
        "two wheels could not be made loadable on this system's glibc; see above.",
    )


def install_advice(python: str) -> str:
    """What to look at when the lock cannot be installed; names what is seen to be missing."""
    advice = (
        "the locked packages could not be installed. Is the package index reachable, and "
        "is there room for 4 GB?"
    )
    # pyfarmhash, which TFDV needs, has no wheels: it is compiled.
    code = "import os, sysconfig; print(os.path.join(sysconfig.get_path('include'), 'Python.h'))"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True)
    missing = [] if shutil.which("g++") or shutil.which("c++") else ["a C++ compiler (g++)"]
    if not os.path.exists(answer.stdout.strip()):
        missing.append(f"Python's headers ({answer.stdout.strip()})")
    if missing:
        advice += (
            f"\n  One package is compiled here, and {' and '.join(missing)} cannot be found.\n"
            "  Debian: apt-get install g++ python3-dev"
        )
    return advice


def check_platform(system: str, machine: str) -> None:
    """Refuses systems that TFX has no wheels for.

    Raises:
      SetupError: naming the system.
    """
    supported = {("Linux", "x86_64"), ("Darwin", "arm64")}
    if (system, machine) not in supported:
        raise SetupError(
            f"TFX has no wheels for {system} on {machine}. "
            "Use Linux on x86_64 (in a container, if need be) or macOS on arm64."
        )


def platform_arguments(system: str, machine: str, libc: tuple[str, str]) -> list[str]:
    """Lets uv take wheels for glibc 2.39 on an older one; `old_glibc` then edits two."""
    if system != "Linux" or libc[0] != "glibc":
        return []
    if tuple(int(part) for part in libc[1].split(".")[:2]) >= (2, 39):
        return []
    return ["--python-platform", f"{machine}-manylinux_2_39"]


def choose_python(asked: str | None = None) -> str:
    """Returns the interpreter for the environment, or a version for uv to fetch.

    Args:
      asked: what the user named, if anything; must be suitable.

    Raises:
      SetupError: if the user's choice is not suitable.
    """
    if asked:
        if version_of(asked) not in SUITABLE:
            raise SetupError(f"PYTHON={asked} is not a CPython {', '.join(SUITABLE)}.")
        return asked
    for name in CANDIDATES:
        path = shutil.which(name)
        if path and version_of(path) in SUITABLE:
            return path
    say("no suitable CPython on the PATH: asking uv to fetch one")
    return SUITABLE[0]


def version_of(python: str) -> str | None:
    """`major.minor` of a CPython; None if it is none or does not run."""
    code = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True)
    except OSError:
        return None
    name, _, version = answer.stdout.strip().partition(" ")
    return version if name == "cpython" else None


def find_uv() -> Path:
    """Installs uv below the checkout if it is not there, and returns its path."""
    uv = TOOLS / UV / "bin" / "uv"
    if uv.exists():
        return uv
    say("installing uv")
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True).returncode:
        pip = pip_of_new_environment()
    # As a variable: pip before 22.1 (Ubuntu 22.04) does not know it as an option.
    os.environ.setdefault("PIP_ROOT_USER_ACTION", "ignore")
    run(
        [
            *(*pip, "install", "--quiet", "--disable-pip-version-check"),
            *("--target", str(TOOLS / UV), "--upgrade", UV),
        ],
        "uv could not be installed with pip. Is the package index reachable?",
    )
    return uv


def pip_of_new_environment() -> list[str]:
    """A pip from a throw-away virtual environment, where the system's Python has none."""
    made = subprocess.run([sys.executable, "-m", "venv", str(TOOLS / "pip")], capture_output=True)
    if made.returncode:
        raise SetupError(
            f"{sys.executable} has neither pip nor venv. Debian: apt-get install python3-pip"
        )
    return [str(TOOLS / "pip" / "bin" / "python"), "-m", "pip"]


def run(command: list[str], problem: str) -> None:
    """Runs a command whose failure ends the set-up with `problem`."""
    if subprocess.run(command).returncode:
        raise SetupError(problem)


def say(text: str) -> None:
    """One line of progress."""
    print(f"set-up: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
