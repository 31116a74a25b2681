"""Submits compiled pipelines to Vertex AI, and looks after their runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import aiplatform
from google.cloud.aiplatform import utils
from google.cloud.aiplatform_v1 import types
from google.cloud.storage import Client as StorageClient
from google.protobuf import json_format

from pipeline import events
from pipeline.cluster import vertex_logs
from pipeline.cluster.client import (
    PipelineVersion,
    RunStatus,
    RunSummary,
    Source,
    StartedRun,
    Task,
)
from pipeline.cluster.target import ClusterError, require
from pipeline.cluster.tasks import task_names
from pipeline.cluster.vertex_errors import as_cluster_error, quiet
from pipeline.cluster.vertex_settings import psc_interface
from pipeline.cluster.vertex_templates import UploadedTemplate, upload_template
from pipeline.config.schema import Config

ANSWER_SECS = 60.0

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_PAGE = 100

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
_TERMINATED = {"PIPELINE_STATE_CANCELLED": "the run was terminated"}


def connect(config: Config, submits: bool) -> "VertexClient":
    """Finds credentials and, if something will be submitted, the bucket; nothing is changed.

    Raises:
      ClusterError: without a project, a location, credentials, or a bucket.
    """
    require(config, "cluster.project", "cluster.location")
    try:
        credentials, _ = google.auth.default(scopes=_SCOPES)
    except auth_exceptions.DefaultCredentialsError as error:
        raise ClusterError(
            "no Google credentials were found: run gcloud auth application-default login, or "
            "set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account."
        ) from error
    if submits:
        bucket = str(config.cluster.pipeline_root).removeprefix("gs://").split("/")[0]
        with as_cluster_error():
            _check_bucket(bucket, config, credentials)
    return VertexClient(config, credentials)


def _check_bucket(bucket: str, config: Config, credentials: Any) -> None:
    client = StorageClient(project=config.cluster.project, credentials=credentials)
    try:
        found = client.bucket(bucket).exists(timeout=ANSWER_SECS, retry=None)
    except exceptions.Forbidden:
        return  # who may write to a bucket need not be allowed to look at it
    if not found:
        raise ClusterError(
            f"cluster.pipeline_root: there is no bucket {bucket!r}: gcloud storage buckets create "
            f"gs://{bucket} --location={config.cluster.location}"
        )


class VertexClient:
    """The `ClusterClient` of Vertex AI; made by `connect`.

    A run's identifier is the last part of its resource name, as the console shows it.
    """

    def __init__(self, config: Config, credentials: Any) -> None:
        self._config = config
        self._credentials = credentials

    def upload(self, package: Path, version: str) -> PipelineVersion:
        """As `ClusterClient.upload`; Vertex AI keeps pipelines in Artifact Registry."""
        return upload_template(package, version, self._config, self._credentials)

    def start(self, source: Source, name: str) -> StartedRun:
        """As `ClusterClient.start`."""
        with as_cluster_error("rejected the pipeline"), quiet():
            job = self._job(source, name)
            job.submit(
                service_account=self._config.cluster.service_account,
                network=self._config.cluster.network,
                reserved_ip_ranges=list(self._config.cluster.vertex.reserved_ip_ranges) or None,
                create_request_timeout=ANSWER_SECS,
            )
            run_id = str(job.resource_name).rpartition("/")[2]
        return StartedRun(run_id, self.get_url(run_id))

    def schedule(self, source: Source, name: str, cron: str) -> str:
        """As `ClusterClient.schedule`."""
        with as_cluster_error("rejected the pipeline"), quiet():
            self._refuse_second(name)
            job = self._job(source, name)
            job._gca_resource.reserved_ip_ranges = self._config.cluster.vertex.reserved_ip_ranges
            schedule = aiplatform.PipelineJobSchedule(pipeline_job=job, display_name=name)
            # The library leaves it out of the job that it copies.
            copy = schedule._gca_resource.create_pipeline_job_request.pipeline_job
            copy.psc_interface_config = job._gca_resource.psc_interface_config
            schedule.create(
                cron=cron,
                max_concurrent_run_count=1,
                service_account=self._config.cluster.service_account,
                network=self._config.cluster.network,
                create_request_timeout=ANSWER_SECS,
            )
            return str(schedule._dashboard_uri())

    def get_status(self, run_id: str) -> RunStatus:
        """As `ClusterClient.get_status`."""
        job = self._get_job(run_id)
        tasks = {
            task.task_name: Task(_TASK_STATES[task.state.name], task.error.message)
            for task in job.job_detail.task_details
            if task.state.name in _TASK_STATES
        }
        state = _RUN_STATES.get(job.state.name, events.RUNNING)
        return RunStatus(state, tasks, job.error.message or _TERMINATED.get(job.state.name, ""))

    def list_runs(self, limit: int, of_all: bool) -> list[RunSummary]:
        """As `ClusterClient.list_runs`."""
        request = types.ListPipelineJobsRequest(
            parent=self._parent(),
            filter="" if of_all else f'pipeline_name="{self._config.name}"',
            order_by="create_time desc",
            page_size=min(limit, _PAGE),
        )
        with as_cluster_error(), quiet():
            found = self._api().list_pipeline_jobs(request, timeout=ANSWER_SECS, retry=None)
            return [self._summary(job) for job, _ in zip(found, range(limit), strict=False)]

    def get_tasks(self, run_id: str) -> list[str]:
        """As `ClusterClient.get_tasks`."""
        return self._tasks_of(self._get_job(run_id))

    def get_url(self, run_id: str) -> str:
        """As `ClusterClient.get_url`."""
        cluster = self._config.cluster
        return (
            f"https://console.cloud.google.com/vertex-ai/locations/{cluster.location}/pipelines/"
            f"runs/{run_id.rpartition('/')[2]}?project={cluster.project}"
        )

    def read_log(self, run_id: str, task: str) -> Iterator[str]:
        """As `ClusterClient.read_log`."""
        job = self._get_job(run_id)
        names = self._tasks_of(job)
        if task not in names:
            raise ClusterError(f"the run has no task {task}. Tasks: {', '.join(names)}.")
        details = [one for one in job.job_detail.task_details if one.task_name == task]
        jobs = [name for one in details for name in vertex_logs.custom_jobs(one)]
        if not jobs:
            raise ClusterError(f"{task} has no log: no job of it has started in this run.")
        return vertex_logs.read(jobs[-1], str(self._config.cluster.project), self._credentials)

    def retry(self, run_id: str) -> None:
        """Raises: Vertex AI has no such request."""
        raise ClusterError(
            "Vertex AI cannot retry a run.",
            where=run_id,
            to_do=(
                "Submit the pipeline again with the same config: thaw submit --target vertex. "
                "Tasks that succeeded are taken from the cache (cluster.caching), and fits resume "
                "after their last completed epoch."
            ),
        )

    def terminate(self, run_id: str) -> None:
        """As `ClusterClient.terminate`; the service ends the run some time later."""
        with as_cluster_error(), quiet():
            self._api().cancel_pipeline_job(
                name=self._resource(run_id), timeout=ANSWER_SECS, retry=None
            )

    def _get_job(self, run_id: str) -> types.PipelineJob:
        with as_cluster_error(), quiet():
            return self._api().get_pipeline_job(
                name=self._resource(run_id), timeout=ANSWER_SECS, retry=None
            )

    def _api(self) -> Any:
        """Google's generated client: the classes above it pass no deadline on."""
        return aiplatform.initializer.global_config.create_client(
            client_class=utils.PipelineJobClientWithOverride,
            credentials=self._credentials,
            location_override=self._config.cluster.location,
        )

    def _tasks_of(self, job: types.PipelineJob) -> list[str]:
        return task_names(json_format.MessageToDict(type(job).pb(job).pipeline_spec))

    def _summary(self, job: types.PipelineJob) -> RunSummary:
        run_id = job.name.rpartition("/")[2]
        return RunSummary(
            run_id=run_id,
            name=job.display_name,
            state=job.state.name.removeprefix("PIPELINE_STATE_").lower(),
            version=job.template_uri.rpartition("/")[2],
            created=job.create_time,
            ended=job.end_time or None,
            url=self.get_url(run_id),
        )

    def _refuse_second(self, name: str) -> None:
        same = aiplatform.PipelineJobSchedule.list(filter=f'display_name="{name}"', **self._where())
        for one in same:
            if one.gca_resource.state.name in ("ACTIVE", "PAUSED"):
                raise ClusterError(
                    f"there are recurring runs {name!r} already: both would run. Delete those at "
                    f"{one._dashboard_uri()}, or give these a --run-name of their own."
                )

    def _job(self, source: Source, name: str) -> aiplatform.PipelineJob:
        template = source if isinstance(source, UploadedTemplate) else None
        job = aiplatform.PipelineJob(
            display_name=name,
            template_path=str(template.package if template else source),
            pipeline_root=self._config.cluster.pipeline_root,
            labels=dict(self._config.cluster.labels) or None,
            encryption_spec_key_name=self._config.cluster.vertex.kms_key,
            **self._where(),
        )
        if template:
            job._gca_resource.template_uri = template.url
        interface = psc_interface(self._config)
        if interface:
            job._gca_resource.psc_interface_config = types.PscInterfaceConfig(interface)
        return job

    def _parent(self) -> str:
        cluster = self._config.cluster
        return f"projects/{cluster.project}/locations/{cluster.location}"

    def _resource(self, run_id: str) -> str:
        return run_id if "/" in run_id else f"{self._parent()}/pipelineJobs/{run_id}"

    def _where(self) -> dict[str, Any]:
        return {
            "project": self._config.cluster.project,
            "location": self._config.cluster.location,
            "credentials": self._credentials,
        }
