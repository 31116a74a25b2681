"""Submits a compiled pipeline to the API of Kubeflow Pipelines."""

import contextlib
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import kfp
import kfp_server_api
import tenacity
import urllib3

from pipeline import events
from pipeline.cluster.client import RunStatus, StartedRun, Task
from pipeline.cluster.target import ClusterError, require
from pipeline.config.schema import Config

TOKEN = "KF_PIPELINES_TOKEN"

_ANSWER_SECS = 10.0
_OUTAGE_SECS = 300

_STATES = {
    "RUNNING": events.RUNNING,
    "CANCELING": events.RUNNING,
    "PAUSED": events.RUNNING,
    "SUCCEEDED": events.DONE,
    "SKIPPED": events.CACHED,
    "FAILED": events.FAILED,
    "CANCELED": events.FAILED,
}


def connect(config: Config) -> "KubeflowClient":
    """Finds the API and checks that it accepts our token; nothing is changed there.

    Raises:
      ClusterError: without a host, an answer, a token that it accepts, or a namespace
        where it needs one.
    """
    require(config, "cluster.host")
    host = str(config.cluster.host).rstrip("/")
    if _serves_several_users(host) and not config.cluster.namespace:
        raise ClusterError(
            f"cluster.namespace: must be set: {host} serves several users, each with a "
            "namespace of their own."
        )
    with _quiet():
        client = kfp.Client(
            host=host,
            existing_token=os.environ.get(TOKEN),
            namespace=config.cluster.namespace or "kubeflow",
            ssl_ca_cert=os.environ.get("SSL_CERT_FILE"),
        )
    return KubeflowClient(client, config, host)


def _serves_several_users(host: str) -> bool:
    """Whether each user has a namespace of their own, as the API's health check says.

    Raises:
      ClusterError: if the host does not answer, rejects the token, or is no such API.
    """
    url = f"{host}/apis/v2beta1/healthz"
    token = os.environ.get(TOKEN)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    pool = urllib3.PoolManager(ca_certs=os.environ.get("SSL_CERT_FILE"))
    try:
        # A log-in page is an answer too: not followed, so that it is seen.
        answer = pool.request(
            "GET", url, headers=headers, timeout=_ANSWER_SECS, retries=False, redirect=False
        )
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise ClusterError(
            f"cluster.host: {host} does not answer: {error}\n  From outside the cluster: kubectl "
            "port-forward -n kubeflow svc/ml-pipeline-ui 8080:80, and http://localhost:8080."
        ) from error
    if answer.status in (301, 302, 303, 307, 401, 403):
        refused = (
            f"does not accept the token in {TOKEN}" if token else f"asks for a token: set {TOKEN}"
        )
        raise ClusterError(f"cluster.host: {host} {refused} (HTTP {answer.status}).")
    with contextlib.suppress(ValueError, TypeError):
        if answer.status == 200:
            return bool(dict(json.loads(answer.data)).get("multi_user"))
    raise ClusterError(
        f"cluster.host: {host} is not an API of Kubeflow Pipelines: its healthz answers HTTP "
        f"{answer.status}."
    )


class KubeflowClient:
    """The `ClusterClient` of Kubeflow Pipelines; made by `connect`."""

    def __init__(self, client: kfp.Client, config: Config, host: str) -> None:
        self._client = client
        self._config = config
        self._host = host

    def start(self, package: Path, name: str) -> StartedRun:
        """As `ClusterClient.start`."""
        with _as_cluster_error(self._host), _quiet():
            run = self._client.create_run_from_pipeline_package(
                str(package),
                arguments={},
                run_name=name,
                experiment_name=self._experiment(),
                namespace=self._config.cluster.namespace,
                # The server reads the root from the request only, never from the spec.
                pipeline_root=self._config.cluster.pipeline_root,
                service_account=self._config.cluster.service_account,
            )
        return StartedRun(run.run_id, f"{self._host}/#/runs/details/{run.run_id}")

    def schedule(self, package: Path, name: str, cron: str) -> str:
        """As `ClusterClient.schedule`."""
        with _as_cluster_error(self._host), _quiet():
            experiment = self._client.create_experiment(
                self._experiment(), namespace=self._config.cluster.namespace
            )
            self._refuse_second(experiment.experiment_id, name)
            recurring = self._client.create_recurring_run(
                experiment_id=experiment.experiment_id,
                job_name=name,
                # Kubeflow's lines begin with the second.
                cron_expression=f"0 {cron}",
                max_concurrency=1,
                no_catchup=True,
                pipeline_package_path=str(package),
                pipeline_root=self._config.cluster.pipeline_root,
                service_account=self._config.cluster.service_account,
            )
        return f"{self._host}/#/recurringrun/details/{recurring.recurring_run_id}"

    def _refuse_second(self, experiment_id: str, name: str) -> None:
        page = None
        while page != "":
            found = self._client.list_recurring_runs(
                page_token=page or "", page_size=100, experiment_id=experiment_id
            )
            if any(one.display_name == name for one in found.recurring_runs or []):
                raise ClusterError(
                    f"there are recurring runs {name!r} already: both would run. Delete those at "
                    f"{self._host}/#/recurringruns, or give these a --run-name of their own."
                )
            page = found.next_page_token or ""

    def get_status(self, run_id: str) -> RunStatus:
        """As `ClusterClient.get_status`. An API that is unreachable for minutes is retried."""
        run = _get_run(self._client, run_id)
        details = run.run_details.task_details if run.run_details else None
        tasks = {
            task.display_name: Task(_STATES[task.state], task.error.message if task.error else "")
            for task in details or []
            if task.state in _STATES
        }
        state = _STATES.get(run.state, events.RUNNING)
        return RunStatus(
            events.DONE if state == events.CACHED else state,
            tasks,
            run.error.message if run.error else "",
        )

    def _experiment(self) -> str:
        return self._config.cluster.experiment or self._config.name


@tenacity.retry(
    retry=tenacity.retry_if_exception_type((urllib3.exceptions.HTTPError, ConnectionError))
    | tenacity.retry_if_exception(
        lambda error: isinstance(error, kfp_server_api.ApiException) and error.status >= 500
    ),
    wait=tenacity.wait_exponential(max=30),
    stop=tenacity.stop_after_delay(_OUTAGE_SECS),
    reraise=True,
)
def _get_run(client: kfp.Client, run_id: str) -> kfp_server_api.V2beta1Run:
    return client.get_run(run_id)


@contextlib.contextmanager
def _as_cluster_error(host: str) -> Iterator[None]:
    try:
        yield
    except kfp_server_api.ApiException as error:
        answer = f"HTTP {error.status}: {_message(error)}"
        hint = f" Set {TOKEN}." if error.status in (401, 403) and TOKEN not in os.environ else ""
        raise ClusterError(f"{host} rejected the pipeline: {answer}{hint}") from error
    except urllib3.exceptions.HTTPError as error:
        raise ClusterError(f"{host} rejected the pipeline: {error}") from error


def _message(error: kfp_server_api.ApiException) -> str:
    try:
        body = json.loads(error.body)
        return str(body.get("message") or body.get("error") or error.reason)
    except (TypeError, ValueError):
        return str(error.body or error.reason)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The client prints addresses of its own, and warns of servers older than any that we know."""
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
