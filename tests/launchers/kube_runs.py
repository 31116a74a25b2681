"""Runs workers on the stand-in cluster, in the background, while the test plays the nodes."""

import threading
import time
from pathlib import Path
from typing import Any

from launchers.registry import make_launcher, read_settings
from launchers.worker_group import Limits, WorkerGroup
from tests.launchers.kube_api import KubeApi

NAME = "birds-fit-0123456789"
IMAGE = "registry.example/thaw:1"


def settings(kubeconfig: str, **more: Any) -> dict[str, Any]:
    """The shortest settings, and more."""
    return {
        "kind": "kubernetes",
        "image": IMAGE,
        "kubeconfig": kubeconfig,
        "api_retry_secs": 5,
        **more,
    }


def group(folder: Path, workers: int = 2, **limits: Any) -> WorkerGroup:
    return WorkerGroup(
        name=NAME,
        request_uri="gs://birds/request.json",
        num_workers=workers,
        log_dir=str(folder / "logs"),
        limits=Limits(**limits),
    )


class Running:
    """A launcher in a thread of its own."""

    def __init__(self, launcher_settings: dict[str, Any], asked: WorkerGroup) -> None:
        self.error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(launcher_settings, asked), daemon=True
        )
        self._thread.start()

    def _run(self, launcher_settings: dict[str, Any], asked: WorkerGroup) -> None:
        try:
            make_launcher(read_settings(launcher_settings)).run(asked)
        except BaseException as error:
            self.error = error
            print(f"the launcher ended: {error!r}")

    def end(self, timeout_secs: float = 60.0) -> None:
        """Waits for the end; raises what the launcher raised."""
        self._thread.join(timeout_secs)
        assert not self._thread.is_alive(), f"the launcher still runs after {timeout_secs} s"
        if self.error:
            raise self.error


def until(true: Any, timeout_secs: float = 60.0) -> None:
    """Waits until `true()` is."""
    deadline = time.monotonic() + timeout_secs
    while not true():
        assert time.monotonic() < deadline, f"still not so after {timeout_secs} s"
        time.sleep(0.02)


def jobs(api: KubeApi) -> list[str]:
    """Names of the Jobs there are."""
    return [job["metadata"]["name"] for job in api.store.all("jobs")]


def watches(api: KubeApi) -> int:
    """How many watches were asked for so far."""
    return sum("watch=True" in path for _, path in api.requests)


def created(api: KubeApi, plural: str) -> list[dict]:
    """All objects of a kind that were ever made."""
    return [one for _, event, kind, one in api.store.events if (event, kind) == ("ADDED", plural)]
