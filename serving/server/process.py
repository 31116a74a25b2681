"""A server in a process of its own, for as long as a block of code runs."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launchers.local import kill_with_parent, process_tree
from trainer.errors import ThawError

_POLL_SECS = 0.05
_GRACE_SECS = 5.0
_LAST_LINES = 15


class ServerFailed(ThawError):
    """The server does not start, or has ended. The message holds the last lines of its log."""


@dataclass(frozen=True)
class Addresses:
    """Where a server listens, as `host:port`."""

    http: str
    grpc: str


class ServerProcess:
    """A server that starts, and is asked once it is ready."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def wait_until_ready(self, timeout_secs: float) -> Addresses:
        """Waits for the model to be loaded and both ports to be open.

        Raises:
          ServerFailed: if the server ends before, takes longer, or cannot load the model.
        """
        until = time.monotonic() + timeout_secs
        while self._process.poll() is None:
            records = _read_records(self._log)
            if any(one["message"] == "version refused" for one in records):
                raise self.failure("cannot serve it")
            addresses = dict(
                one["address"].split("://") for one in records if one["message"] == "listening"
            )
            if {"http", "grpc"} <= addresses.keys():
                return Addresses(addresses["http"], addresses["grpc"])
            if time.monotonic() > until:
                raise self.failure(f"did not start within {timeout_secs:g} s")
            time.sleep(_POLL_SECS)
        raise self.failure(f"ended with code {self._process.returncode} before it was ready")

    def failure(self, what: str) -> ServerFailed:
        """An error that says what happened, and how the log ends."""
        lines = self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return ServerFailed(
            f"the model's server {what}.",
            to_do="The end of its log:\n" + "\n".join(lines),
        )


@contextmanager
def start_server(model_dir: Path, name: str) -> Iterator[ServerProcess]:
    """Starts a server on this machine's loopback; it ends with the block, or with this process.

    Args:
      model_dir: folder of numbered versions, or one SavedModel; on this machine.
      name: of the model, as requests name it.

    Yields:
      The server, which may still be starting.
    """
    read_end, write_end = os.pipe()
    with tempfile.TemporaryDirectory(prefix="thaw-server-") as folder:
        log = Path(folder) / "log"
        try:
            process = _start(read_end, model_dir, name, log)
            try:
                yield ServerProcess(process, log)
            finally:
                process_tree.end_processes(
                    lambda: process_tree.group_of(process.pid), grace_secs=_GRACE_SECS
                )
                process.wait()
        finally:
            os.close(write_end)


def _start(read_end: int, model_dir: Path, name: str, log: Path) -> subprocess.Popen[bytes]:
    module = __name__.rpartition(".")[0]
    command = [sys.executable, "-m", module, str(model_dir), name]
    try:
        with open(log, "ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", kill_with_parent.__name__, str(read_end), *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[read_end, *kill_with_parent.inherited_lock()],
                # TensorFlow's own lines would fill the log.
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"},
            )
    finally:
        os.close(read_end)


def _read_records(log: Path) -> list[dict[str, str]]:
    """The complete lines that the server has logged by now."""
    lines = log.read_text(errors="replace").splitlines()
    return [json.loads(one) for one in lines if one.startswith("{") and one.endswith("}")]
