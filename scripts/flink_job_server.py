"""Puts Beam's job server for Apache Flink into `.setup/flink`, unless it is there.

    python3 scripts/flink_job_server.py      # prints the jar's path

For a pipeline's `--flink_job_server_jar`. Maven fetches the parts, some 150 MB; it keeps
what it has, so that an interrupted call goes on where it stopped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POM = ROOT / "scripts" / "flink" / "pom.xml"
SERVER = ROOT / ".setup" / "flink"


class NoJobServer(RuntimeError):
    """There is none and it cannot be had; the message says why."""


def job_server(directory: Path = SERVER) -> Path:
    """Returns the jar in `directory`, built if it is missing or of another pom.xml.

    Raises:
      NoJobServer: without Java or Maven, or with what Maven said last.
    """
    jar = directory / "job-server.jar"
    made_from = directory / POM.name
    if jar.exists() and made_from.exists() and made_from.read_bytes() == POM.read_bytes():
        return jar
    for tool, use in (("java", "runs Flink"), ("mvn", "fetches it")):
        if shutil.which(tool) is None:
            raise NoJobServer(f"{tool} is not installed; it {use}.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="flink-", dir=directory.parent))
    try:
        _build(partial)
        shutil.rmtree(directory, ignore_errors=True)
        os.replace(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return jar


def _build(directory: Path) -> None:
    done = subprocess.run(
        ["mvn", "-B", "-q", "-f", str(POM), f"-Dserver.dir={directory}", "package"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        problem = next((line for line in done.stdout.splitlines() if "ERROR" in line), "")
        raise NoJobServer(f"Maven could not put it together: {problem or done.stdout[-500:]}")
    shutil.copy(POM, directory)


if __name__ == "__main__":
    try:
        print(job_server())
    except NoJobServer as problem:
        print(f"no Flink job server: {problem}", file=sys.stderr)
        sys.exit(1)
