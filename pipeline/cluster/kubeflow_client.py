"""Submits compiled pipelines to the API of Kubeflow Pipelines, and looks after their runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kfp_server_api as api
import yaml

from pipeline import events
from pipeline.cluster import kubeflow_session
from pipeline.cluster.client import (
    PipelineVersion,
    RunStatus,
    RunSummary,
    Source,
    StartedRun,
    Task,
)
from pipeline.cluster.kubeflow_logs import log_sources
from pipeline.cluster.kubeflow_session import Session
from pipeline.cluster.target import ClusterError, require
from pipeline.cluster.tasks import task_names
from pipeline.config.schema import Config

_EQUALS = "EQUALS"
_PAGE = 100

_STATES = {
    "RUNNING": events.RUNNING,
    "CANCELING": events.RUNNING,
    "PAUSED": events.RUNNING,
    "SUCCEEDED": events.DONE,
    "SKIPPED": events.CACHED,
    "FAILED": events.FAILED,
    "CANCELED": events.FAILED,
}
_TERMINATED = {"CANCELED": "the run was terminated"}


def connect(config: Config) -> "KubeflowClient":
    """Finds the API and checks that it accepts our login; nothing is changed there.

    Raises:
      ClusterError: without a host, an answer, a login that it accepts, or a namespace
        where it needs one.
    """
    require(config, "cluster.host")
    host = str(config.cluster.host).rstrip("/")
    host = host if "://" in host else f"https://{host}"
    client = KubeflowClient(
        kubeflow_session.connect(host, config.cluster.credentials), config, host
    )
    if client.serves_several_users() and not config.cluster.namespace:
        raise ClusterError(
            f"must be set: {host} serves several users, each with a namespace of their own.",
            where="cluster.namespace",
        )
    return client


class KubeflowClient:
    """The `ClusterClient` of Kubeflow Pipelines; made by `connect`."""

    def __init__(self, client: api.ApiClient, config: Config, host: str) -> None:
        self._session: Session = client.rest_client
        self._health = api.HealthzServiceApi(client)
        self._experiments = api.ExperimentServiceApi(client)
        self._pipelines = api.PipelineServiceApi(client)
        self._uploads = api.PipelineUploadServiceApi(client)
        self._runs = api.RunServiceApi(client)
        self._recurring = api.RecurringRunServiceApi(client)
        self._config = config
        self._host = host

    def serves_several_users(self) -> bool:
        """Whether each user has a namespace of their own, as the API's health check says.

        Raises:
          ClusterError: if the host does not answer, rejects the login, or is no such API.
        """
        try:
            return bool(self._health.healthz_service_get_healthz().multi_user)
        except (AttributeError, ValueError) as error:  # JSON, but of something else
            raise self._other_service(error) from error
        except ClusterError as error:
            if "HTTP 404" in error.what:
                raise self._other_service(error) from error
            raise

    def upload(self, package: Path, version: str) -> PipelineVersion:
        """As `ClusterClient.upload`."""
        name = self._config.name
        labels = self._config.cluster.labels
        tags = {"tags": json.dumps(labels)} if labels else {}
        known = self._find_pipeline(name)
        if known is None:
            # The server gives the first version the pipeline's own name.
            made = self._uploads.upload_pipeline(
                str(package), name=name, **tags, **self._namespace()
            )
            return self._version(name, made.pipeline_id, self._only_version(made.pipeline_id))
        made = self._uploads.upload_pipeline_version(
            str(package), name=version, pipelineid=known, **tags
        )
        return self._version(name, known, made)

    def start(self, source: Source, name: str) -> StartedRun:
        """As `ClusterClient.start`."""
        run = self._runs.run_service_create_run(
            api.V2beta1Run(
                experiment_id=self._experiment(),
                display_name=name,
                runtime_config=self._runtime_config(),
                service_account=self._config.cluster.service_account,
                **_pipeline(source),
            )
        )
        return StartedRun(run.run_id, self.get_url(run.run_id))

    def schedule(self, source: Source, name: str, cron: str) -> str:
        """As `ClusterClient.schedule`."""
        experiment = self._experiment()
        self._refuse_second(experiment, name)
        # Kubeflow's lines begin with the second.
        trigger = api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=f"0 {cron}"))
        recurring = self._recurring.recurring_run_service_create_recurring_run(
            api.V2beta1RecurringRun(
                experiment_id=experiment,
                display_name=name,
                trigger=trigger,
                mode=api.RecurringRunMode.ENABLE,
                max_concurrency=1,
                no_catchup=True,
                runtime_config=self._runtime_config(),
                service_account=self._config.cluster.service_account,
                **_pipeline(source),
            )
        )
        return f"{self._host}/#/recurringrun/details/{recurring.recurring_run_id}"

    def get_status(self, run_id: str) -> RunStatus:
        """As `ClusterClient.get_status`."""
        run = self._get_run(run_id)
        tasks = {
            task.display_name: Task(_STATES[task.state], task.error.message if task.error else "")
            for task in _details(run)
            if task.state in _STATES
        }
        state = _STATES.get(run.state, events.RUNNING)
        return RunStatus(
            events.DONE if state == events.CACHED else state,
            tasks,
            run.error.message if run.error else _TERMINATED.get(run.state, ""),
        )

    def list_runs(self, limit: int, of_all: bool) -> list[RunSummary]:
        """As `ClusterClient.list_runs`."""
        # In multi-user mode the server asks for the namespace even with an experiment.
        chosen = self._namespace()
        if not of_all:
            experiment = self._find_experiment()
            if experiment is None:
                return []
            chosen["experiment_id"] = experiment
        runs: list[Any] = []
        token = ""
        while len(runs) < limit:
            page = self._runs.run_service_list_runs(
                page_token=token,
                page_size=min(limit - len(runs), _PAGE),
                sort_by="created_at desc",
                **chosen,
            )
            runs += page.runs or []
            token = page.next_page_token or ""
            if not token:
                break
        return self._summaries(runs)

    def get_tasks(self, run_id: str) -> list[str]:
        """As `ClusterClient.get_tasks`."""
        return task_names(self._document(self._get_run(run_id)))

    def get_url(self, run_id: str) -> str:
        """As `ClusterClient.get_url`."""
        return f"{self._host}/#/runs/details/{run_id}"

    def read_log(self, run_id: str, task: str) -> Iterator[str]:
        """As `ClusterClient.read_log`."""
        run = self._get_run(run_id)
        document = self._document(run)
        names = task_names(document)
        if task not in names:
            raise ClusterError(f"the run has no task {task}. Tasks: {', '.join(names)}.")
        detail = next((one for one in _details(run) if one.display_name == task), None)
        children = [one.pod_name for one in (detail.child_tasks or [])] if detail else []
        if not children:
            raise ClusterError(f"{task} has no log: no pod of it has started in this run.")
        namespace = self._config.cluster.namespace
        for source in log_sources(run_id, children[0], task, document, namespace):
            answer = self._session.read_text(self._host + source.path, dict(source.query))
            if answer is not None:
                return answer
        raise ClusterError(
            f"the log of {task} was not found: its pod is gone, and the installation archives "
            "no logs, or it is not one that serves them.",
            to_do=(
                f"If the pod still exists: kubectl -n {namespace or 'kubeflow'} logs "
                f"-l pipeline/runid={run_id} -c main --prefix --tail=-1"
            ),
        )

    def retry(self, run_id: str) -> None:
        """As `ClusterClient.retry`."""
        self._runs.run_service_retry_run(run_id)

    def terminate(self, run_id: str) -> None:
        """As `ClusterClient.terminate`."""
        self._runs.run_service_terminate_run(run_id)

    def _get_run(self, run_id: str) -> api.V2beta1Run:
        return self._runs.run_service_get_run(run_id)

    def _document(self, run: api.V2beta1Run) -> dict[str, Any]:
        """What the service stores of a run's pipeline."""
        if run.pipeline_spec:
            return dict(run.pipeline_spec)
        return dict(self._get_version(run.pipeline_version_reference).pipeline_spec)

    def _get_version(self, reference: Any) -> api.V2beta1PipelineVersion:
        return self._pipelines.pipeline_service_get_pipeline_version(
            reference.pipeline_id, reference.pipeline_version_id
        )

    def _summaries(self, runs: list[Any]) -> list[RunSummary]:
        versions: dict[str, str] = {}
        for run in runs:
            reference = run.pipeline_version_reference
            if reference and reference.pipeline_version_id not in versions:
                found = self._get_version(reference)
                versions[reference.pipeline_version_id] = found.display_name
        return [
            RunSummary(
                run_id=run.run_id,
                name=run.display_name,
                state=(run.state or "unknown").lower(),
                version=versions[run.pipeline_version_reference.pipeline_version_id]
                if run.pipeline_version_reference
                else "",
                created=run.created_at,
                # Zero seconds since 1970 while it runs.
                ended=run.finished_at if run.finished_at and run.finished_at.year > 1970 else None,
                url=self.get_url(run.run_id),
            )
            for run in runs
        ]

    def _find_pipeline(self, name: str) -> str | None:
        found = self._pipelines.pipeline_service_list_pipelines(
            filter=_named(name), **self._namespace()
        )
        return found.pipelines[0].pipeline_id if found.pipelines else None

    def _only_version(self, pipeline_id: str) -> api.V2beta1PipelineVersion:
        found = self._pipelines.pipeline_service_list_pipeline_versions(pipeline_id)
        return found.pipeline_versions[0]

    def _version(
        self, name: str, pipeline_id: str, version: api.V2beta1PipelineVersion
    ) -> PipelineVersion:
        version_id = version.pipeline_version_id
        return PipelineVersion(
            pipeline=name,
            pipeline_id=pipeline_id,
            version=version.display_name,
            version_id=version_id,
            url=f"{self._host}/#/pipelines/details/{pipeline_id}/version/{version_id}",
        )

    def _experiment(self) -> str:
        """The experiment that runs belong to; it is created if there is none yet."""
        found = self._find_experiment()
        if found is not None:
            return found
        made = self._experiments.experiment_service_create_experiment(
            api.V2beta1Experiment(display_name=self._experiment_name(), **self._namespace())
        )
        return str(made.experiment_id)

    def _find_experiment(self) -> str | None:
        found = self._experiments.experiment_service_list_experiments(
            filter=_named(self._experiment_name()), **self._namespace()
        )
        return found.experiments[0].experiment_id if found.experiments else None

    def _experiment_name(self) -> str:
        return self._config.cluster.experiment or self._config.name

    def _refuse_second(self, experiment_id: str, name: str) -> None:
        token = None
        while token != "":
            found = self._recurring.recurring_run_service_list_recurring_runs(
                page_token=token or "", page_size=_PAGE, experiment_id=experiment_id
            )
            if any(one.display_name == name for one in found.recurring_runs or []):
                raise ClusterError(
                    f"there are recurring runs {name!r} already: both would run.",
                    to_do=(
                        f"Delete those at {self._host}/#/recurringruns, or give these a "
                        "--run-name of their own."
                    ),
                )
            token = found.next_page_token or ""

    def _runtime_config(self) -> api.V2beta1RuntimeConfig:
        # The server reads the root from the request only, never from the spec.
        return api.V2beta1RuntimeConfig(
            parameters={}, pipeline_root=self._config.cluster.pipeline_root
        )

    def _namespace(self) -> dict[str, str]:
        namespace = self._config.cluster.namespace
        return {"namespace": namespace} if namespace else {}

    def _other_service(self, error: Exception) -> ClusterError:
        return ClusterError(
            f"{self._host} is not an API of Kubeflow Pipelines: {error}", where="cluster.host"
        )


def _pipeline(source: Source) -> dict[str, Any]:
    """The fields of a run that say what runs."""
    if isinstance(source, PipelineVersion):
        reference = api.V2beta1PipelineVersionReference(
            pipeline_id=source.pipeline_id, pipeline_version_id=source.version_id
        )
        return {"pipeline_version_reference": reference}
    spec, *platform = yaml.safe_load_all(source.read_text(encoding="utf-8"))
    if platform:
        return {"pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform[0]}}
    return {"pipeline_spec": spec}


def _details(run: api.V2beta1Run) -> list[Any]:
    return list(run.run_details.task_details or []) if run.run_details else []


def _named(name: str) -> str:
    predicate = {"operation": _EQUALS, "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})
