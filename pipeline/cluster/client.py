"""What a service that runs compiled pipelines can do, whichever it is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """A task's state, one of `pipeline.events`, and what went wrong."""

    state: str
    error: str = ""


@dataclass(frozen=True)
class RunStatus:
    """What a service says of a run.

    Attributes:
      state: of the run, one of `pipeline.events`.
      tasks: each task that has begun, by name.
      error: why the run failed, where the service says so.
    """

    state: str
    tasks: dict[str, Task] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class StartedRun:
    """A run that a service has accepted.

    Attributes:
      run_id: for `ClusterClient.get_status`.
      url: where it can be watched.
    """

    run_id: str
    url: str


@dataclass(frozen=True)
class RunSummary:
    """One line of a list of runs.

    Attributes:
      state: the service's own word in lower case, such as `running` or `failed`.
      version: name of the uploaded pipeline version that runs; empty if it was none.
      created, ended: with a time zone; None where the service does not say.
    """

    run_id: str
    name: str
    state: str
    version: str
    created: datetime | None
    ended: datetime | None
    url: str


@dataclass(frozen=True)
class PipelineVersion:
    """A version of a pipeline that a service keeps.

    Attributes:
      pipeline, version: their names.
      pipeline_id, version_id: by which the service knows them.
      url: where the version is shown.
    """

    pipeline: str
    pipeline_id: str
    version: str
    version_id: str
    url: str


Source = Path | PipelineVersion


class ClusterClient(Protocol):
    """Starts runs of a compiled pipeline on a cluster, asks about them and ends them.

    The implementations are `pipeline.cluster.kubeflow_client` and
    `pipeline.cluster.vertex_client`; the `connect` of each checks what it needs first. Every
    method raises `ClusterError` if the service refuses what it is asked, and `Unreachable`, a
    kind of `ClusterError`, if it does not answer in time.

    Example:
      >>> client = kubeflow_client.connect(config)
      >>> run = client.start(Path("pipeline.yaml"), "birds-1")
      >>> client.get_status(run.run_id).state
      'running'
    """

    def upload(self, package: Path, version: str) -> PipelineVersion:
        """Keeps a pipeline at the service, or a new version if one of its name is there.

        Args:
          package: file of a pipeline that was compiled for this service.
          version: name of the new version.
        """

    def start(self, source: Source, name: str) -> StartedRun:
        """Starts one run.

        Args:
          source: file of a pipeline that was compiled for this service, or an uploaded version.
          name: shown by the service.
        """

    def schedule(self, source: Source, name: str, cron: str) -> str:
        """Starts recurring runs; returns where they can be watched.

        Args:
          source: as for `start`.
          name: of the recurring runs.
          cron: minute, hour, day, month and weekday.

        Raises:
          ClusterError: also if recurring runs of that name exist, since both would run.
        """

    def get_status(self, run_id: str) -> RunStatus:
        """The state of a run and of its tasks."""

    def list_runs(self, limit: int, of_all: bool) -> list[RunSummary]:
        """The newest runs, newest first.

        Args:
          limit: the most that are returned.
          of_all: also those of other pipelines.
        """

    def get_tasks(self, run_id: str) -> list[str]:
        """Names of all tasks that a run has, first to last."""

    def get_url(self, run_id: str) -> str:
        """Where a run can be watched."""

    def read_log(self, run_id: str, task: str) -> Iterator[str]:
        """What a task has written so far: lines, without their ends.

        Raises:
          ClusterError: also if the run has no such task, or its log is gone.
        """

    def retry(self, run_id: str) -> None:
        """Runs the tasks of a failed run that did not succeed, in the same run."""

    def terminate(self, run_id: str) -> None:
        """Ends a run. What it has written stays."""
