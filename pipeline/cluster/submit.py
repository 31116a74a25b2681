"""Compiles a pipeline and submits it to a cluster, for one run or for recurring ones."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.cluster import follow
from pipeline.cluster.client import ClusterClient
from pipeline.cluster.compile import compile_pipeline
from pipeline.cluster.target import ClusterError, Target
from pipeline.config.schema import Config

_T = TypeVar("_T")

SUFFIXES = {Target.KUBEFLOW: ".yaml", Target.VERTEX: ".json"}


@dataclass(frozen=True)
class Submitted:
    """A run that was started.

    Attributes:
      url: where it can be watched.
      follow: returns when it has ended well; raises `RunFailed`.
    """

    url: str
    follow: Callable[[follow.OnEvent], None]


def submit(config: Config, target: Target, run_name: str | None = None) -> Submitted:
    """Starts a run.

    Args:
      config: one that `check_complete` accepts; the target's own keys of `cluster` as well.
      target: where to.
      run_name: shown by the service. None: the pipeline's name and the time.

    Raises:
      ClusterError: naming what is missing or refused. The host, credentials and bucket
        are checked first.
    """
    client = _connect(config, target)
    text = compile_pipeline(config, target)
    name = run_name or f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    run = _with_package(config, target, text, lambda package: client.start(package, name))
    nodes = _tasks(text)

    def wait(on_event: follow.OnEvent) -> None:
        follow.follow(lambda: client.get_status(run.run_id), nodes, run.url, on_event)

    return Submitted(run.url, wait)


def schedule(config: Config, target: Target, run_name: str | None = None) -> str:
    """Starts recurring runs, at `cluster.schedule`; returns where they can be watched.

    They keep the pipeline as it is compiled now.

    Raises:
      ClusterError: naming what is missing or refused, or recurring runs of the same name.
    """
    if not config.cluster.schedule:
        raise ClusterError("cluster.schedule: must be set for recurring runs.")
    cron = config.cluster.schedule
    client = _connect(config, target)
    text = compile_pipeline(config, target)
    name = run_name or config.name
    return _with_package(config, target, text, lambda package: client.schedule(package, name, cron))


def _connect(config: Config, target: Target) -> ClusterClient:
    if target is Target.KUBEFLOW:
        from pipeline.cluster import kubeflow_client

        return kubeflow_client.connect(config)
    from pipeline.cluster import vertex_client

    return vertex_client.connect(config)


def _with_package(
    config: Config, target: Target, text: str, submit_file: Callable[[Path], _T]
) -> _T:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / f"{config.name}{SUFFIXES[target]}"
        package.write_text(text, encoding="utf-8")
        return submit_file(package)


def _tasks(text: str) -> list[str]:
    """The pipeline's tasks, first to last."""
    import yaml

    document = next(yaml.safe_load_all(text))  # JSON is YAML
    spec = document.get("pipelineSpec", document)
    tasks = spec["root"]["dag"]["tasks"]
    return in_order({name: task.get("dependentTasks", []) for name, task in tasks.items()})


def in_order(dependencies: dict[str, list[str]]) -> list[str]:
    """Names such that each comes after those that it depends on."""
    from graphlib import TopologicalSorter

    return list(TopologicalSorter(dependencies).static_order())
