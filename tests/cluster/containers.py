"""Runs containers' commands as processes of this machine: what stands for the image is the
environment that the tests run in.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

WARM_PYTHON = Path(__file__).parent / "warm_python.py"
ENTRY_POINT = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"


@dataclass(frozen=True)
class Command:
    """What a container runs: `words` is its command and arguments, placeholders resolved."""

    words: list[str]
    environment: dict[str, str] = field(default_factory=dict)


class ContainerFailed(AssertionError):
    """A command ended with another exit code than 0."""


class ColdPython:
    """Starts each command as it stands."""

    def run(self, command: Command, log: Path) -> None:
        bin_dir = str(Path(sys.executable).parent)
        with open(log, "ab") as file:
            done = subprocess.run(
                command.words,
                cwd=log.parent,
                env={
                    **os.environ,
                    **command.environment,
                    "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
                },
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        _check(done.returncode, command, log)


class WarmPython:
    """Starts each `python -m …` as a fork of a Python whose imports are done; a context manager.

    Several commands run one after the other.
    """

    def __init__(self, directory: Path) -> None:
        self._log = directory / "warm_python.log"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "WarmPython":
        # As in a container: without what the tests themselves have set.
        environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
        self._process = subprocess.Popen(
            [sys.executable, str(WARM_PYTHON), ENTRY_POINT],
            cwd=self._log.parent,
            env={**environment, "TF_USE_LEGACY_KERAS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("ab"),
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._started()
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()

    def run(self, command: Command, log: Path) -> None:
        process = self._started()
        assert process.stdin
        assert command.words[:2] == ["python", "-m"], command.words
        asked = {
            "arguments": command.words[2:],
            "log": str(log),
            "environment": command.environment,
        }
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        _check(self._answer("exit_code"), command, log)

    def _answer(self, key: str) -> int:
        process = self._started()
        assert process.stdout
        for line in process.stdout:
            if line.startswith("{") and key in (report := json.loads(line)):
                return int(report[key])
        raise ContainerFailed(f"the warm Python ended; see {self._log}")

    def _started(self) -> subprocess.Popen[str]:
        assert self._process, "use it as a context manager"
        return self._process


def _check(exit_code: int, command: Command, log: Path) -> None:
    if exit_code:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
        raise ContainerFailed(f"{command.words[:5]} ended with {exit_code}:\n{last}")
