"""Compiles a pipeline and submits it to a cluster, for one run or for recurring ones."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.cluster import follow
from pipeline.cluster.client import PipelineVersion
from pipeline.cluster.compile import compile_pipeline
from pipeline.cluster.connect import connect
from pipeline.cluster.target import ClusterError, Target, Unreachable
from pipeline.cluster.tasks import task_names
from pipeline.config.schema import Config

SUFFIXES = {Target.KUBEFLOW: ".yaml", Target.VERTEX: ".json"}


@dataclass(frozen=True)
class Submitted:
    """A run that was started.

    Attributes:
      run_id: as `thaw runs` takes it.
      url: where it can be watched.
      version: the uploaded pipeline version that runs; None if none was uploaded.
      follow: returns when it has ended well; raises `RunFailed`.
    """

    run_id: str
    url: str
    version: PipelineVersion | None
    follow: Callable[[follow.OnEvent], None]


@dataclass(frozen=True)
class Scheduled:
    """Recurring runs that were started.

    Attributes:
      url: where they can be watched.
      version: as of `Submitted`.
    """

    url: str
    version: PipelineVersion | None


def submit(
    config: Config, target: Target, run_name: str | None = None, upload: bool = False
) -> Submitted:
    """Starts a run.

    Args:
      config: one that `check_complete` accepts; the target's own keys of `cluster` as well.
      target: where to.
      run_name: shown by the service. None: the pipeline's name and the time.
      upload: whether the pipeline is uploaded first, as a version of the run's name.

    Raises:
      ClusterError: naming what is missing or refused. The host, credentials and bucket
        are checked first.
    """
    client = connect(config, target, submits=True)
    text = compile_pipeline(config, target)
    name = run_name or _timed_name(config)
    with _package(config, target, text) as package:
        version = client.upload(package, name) if upload else None
        with _maybe_started():
            run = client.start(version or package, name)
    nodes = _tasks(text)

    def wait(on_event: follow.OnEvent) -> None:
        follow.follow(lambda: client.get_status(run.run_id), nodes, run.url, on_event)

    return Submitted(run.run_id, run.url, version, wait)


def upload(config: Config, target: Target, version: str | None = None) -> PipelineVersion:
    """Uploads the pipeline and starts no run.

    Args:
      config: as for `submit`.
      target: where to.
      version: name of the version. None: the pipeline's name and the time.

    Raises:
      ClusterError: as `submit`.
    """
    client = connect(config, target, submits=True)
    text = compile_pipeline(config, target)
    with _package(config, target, text) as package:
        return client.upload(package, version or _timed_name(config))


def schedule(
    config: Config, target: Target, run_name: str | None = None, upload: bool = False
) -> Scheduled:
    """Starts recurring runs, at `cluster.schedule`.

    They keep the pipeline as it is compiled now.

    Raises:
      ClusterError: naming what is missing or refused, or recurring runs of the same name.
    """
    cron = config.cluster.schedule
    if not cron:
        raise ClusterError("cluster.schedule: must be set for recurring runs.")
    client = connect(config, target, submits=True)
    text = compile_pipeline(config, target)
    with _package(config, target, text) as package:
        version = client.upload(package, _timed_name(config)) if upload else None
        with _maybe_started():
            url = client.schedule(version or package, run_name or config.name, cron)
    return Scheduled(url, version)


@contextmanager
def _maybe_started() -> Iterator[None]:
    """Warns of a second start where an answer is all that is missing of the first."""
    try:
        yield
    except Unreachable as error:
        to_do = "It may have started all the same: thaw runs list, before you submit again."
        raise Unreachable(error.what, error.where, to_do) from error


def _timed_name(config: Config) -> str:
    return f"{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"


@contextmanager
def _package(config: Config, target: Target, text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / f"{config.name}{SUFFIXES[target]}"
        package.write_text(text, encoding="utf-8")
        yield package


def _tasks(text: str) -> list[str]:
    """The pipeline's tasks, first to last."""
    import yaml

    return task_names(next(yaml.safe_load_all(text)))  # JSON is YAML
