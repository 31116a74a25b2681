"""What a service that runs compiled pipelines can do, whichever it is."""

from dataclasses import dataclass, field
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


class ClusterClient(Protocol):
    """Starts runs of a compiled pipeline on a cluster, and asks about them.

    The implementations are `pipeline.cluster.kubeflow_client` and
    `pipeline.cluster.vertex_client`; the `connect` of each checks what it needs first.

    Example:
      >>> client = kubeflow_client.connect(config)
      >>> run = client.start(Path("pipeline.yaml"), "birds-1")
      >>> client.get_status(run.run_id).state
      'running'
    """

    def start(self, package: Path, name: str) -> StartedRun:
        """Starts one run.

        Args:
          package: file of a pipeline that was compiled for this service.
          name: shown by the service.

        Raises:
          ClusterError: if the service refuses it.
        """

    def schedule(self, package: Path, name: str, cron: str) -> str:
        """Starts recurring runs; returns where they can be watched.

        Args:
          package: as for `start`.
          name: of the recurring runs.
          cron: minute, hour, day, month and weekday.

        Raises:
          ClusterError: if the service refuses them, or recurring runs of that name exist:
            both would run.
        """

    def get_status(self, run_id: str) -> RunStatus:
        """The state of a run and of its tasks."""
