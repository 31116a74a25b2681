"""Submits a compiled pipeline to Vertex AI."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import aiplatform
from google.cloud.storage import Client as StorageClient

from pipeline import events
from pipeline.cluster.client import RunStatus, StartedRun, Task
from pipeline.cluster.target import ClusterError, require
from pipeline.config.schema import Config

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

_RUN_STATES = {
    "PIPELINE_STATE_SUCCEEDED": events.DONE,
    "PIPELINE_STATE_FAILED": events.FAILED,
    "PIPELINE_STATE_CANCELLED": events.FAILED,
}
_TASK_STATES = {
    "RUNNING": events.RUNNING,
    "CANCEL_PENDING": events.RUNNING,
    "CANCELLING": events.RUNNING,
    "SUCCEEDED": events.DONE,
    "SKIPPED": events.CACHED,
    "FAILED": events.FAILED,
    "CANCELLED": events.FAILED,
}


def connect(config: Config) -> "VertexClient":
    """Finds credentials and the bucket; nothing is changed there.

    Raises:
      ClusterError: without a project, a location, credentials, or a bucket.
    """
    require(config, "cluster.project", "cluster.location")
    bucket = str(config.cluster.pipeline_root).removeprefix("gs://").split("/")[0]
    try:
        credentials, _ = google.auth.default(scopes=_SCOPES)
    except auth_exceptions.DefaultCredentialsError as error:
        raise ClusterError(
            "no Google credentials were found: run gcloud auth application-default login, or "
            "set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account."
        ) from error
    with _as_cluster_error():
        _check_bucket(bucket, config, credentials)
    return VertexClient(config, credentials)


def _check_bucket(bucket: str, config: Config, credentials: Any) -> None:
    client = StorageClient(project=config.cluster.project, credentials=credentials)
    try:
        found = client.bucket(bucket).exists()
    except exceptions.Forbidden:
        return  # who may write to a bucket need not be allowed to look at it
    if not found:
        raise ClusterError(
            f"cluster.pipeline_root: there is no bucket {bucket!r}: gcloud storage buckets create "
            f"gs://{bucket} --location={config.cluster.location}"
        )


class VertexClient:
    """The `ClusterClient` of Vertex AI; made by `connect`."""

    def __init__(self, config: Config, credentials: Any) -> None:
        self._config = config
        self._credentials = credentials

    def start(self, package: Path, name: str) -> StartedRun:
        """As `ClusterClient.start`; the run's id is its resource name."""
        with _as_cluster_error(), _quiet():
            job = self._job(package, name)
            job.submit(
                service_account=self._config.cluster.service_account,
                network=self._config.cluster.network,
            )
            return StartedRun(job.resource_name, str(job._dashboard_uri()))

    def schedule(self, package: Path, name: str, cron: str) -> str:
        """As `ClusterClient.schedule`."""
        with _as_cluster_error(), _quiet():
            self._refuse_second(name)
            schedule = self._job(package, name).create_schedule(
                cron=cron,
                display_name=name,
                max_concurrent_run_count=1,
                service_account=self._config.cluster.service_account,
                network=self._config.cluster.network,
            )
            return str(schedule._dashboard_uri())

    def get_status(self, run_id: str) -> RunStatus:
        """As `ClusterClient.get_status`. Google's client retries an unreachable service itself."""
        with _quiet():
            job = aiplatform.PipelineJob.get(run_id, **self._where())
        tasks = {
            task.task_name: Task(_TASK_STATES[task.state.name], task.error.message)
            for task in job.gca_resource.job_detail.task_details
            if task.state.name in _TASK_STATES
        }
        state = _RUN_STATES.get(job.gca_resource.state.name, events.RUNNING)
        return RunStatus(state, tasks, job.gca_resource.error.message)

    def _refuse_second(self, name: str) -> None:
        same = aiplatform.PipelineJobSchedule.list(filter=f'display_name="{name}"', **self._where())
        for one in same:
            if one.gca_resource.state.name in ("ACTIVE", "PAUSED"):
                raise ClusterError(
                    f"there are recurring runs {name!r} already: both would run. Delete those at "
                    f"{one._dashboard_uri()}, or give these a --run-name of their own."
                )

    def _job(self, package: Path, name: str) -> aiplatform.PipelineJob:
        return aiplatform.PipelineJob(
            display_name=name,
            template_path=str(package),
            pipeline_root=self._config.cluster.pipeline_root,
            **self._where(),
        )

    def _where(self) -> dict[str, Any]:
        return {
            "project": self._config.cluster.project,
            "location": self._config.cluster.location,
            "credentials": self._credentials,
        }


@contextlib.contextmanager
def _as_cluster_error() -> Iterator[None]:
    try:
        yield
    except auth_exceptions.RefreshError as error:
        raise ClusterError(
            "the Google credentials are not valid any more: run gcloud auth application-default "
            f"login. ({error})"
        ) from error
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise ClusterError(f"Vertex AI rejected the pipeline: {error}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Google's client tells of each step on its own, and of a bucket that it would make or
    finds in another project. What fails is raised.
    """
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
