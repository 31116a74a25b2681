"""The few calls to Kubernetes that the launcher needs, with retries and plain errors.

Objects go in as plain dicts, and are read from plain dicts: the client that TFX pins (below
27) has models of an older API, which would drop fields it does not know.
"""

import json
import os
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tenacity
import urllib3
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from launchers.kubernetes.manifest import Manifest
from launchers.kubernetes.settings import KubernetesSettings
from launchers.kubernetes.status import Worker, read_worker
from launchers.kubernetes.warning_events import WarningEvent, read_warning
from launchers.kubernetes.workload import Workload, read_workload

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_T = TypeVar("_T")
_CONNECT_SECS = 10
_READ_SECS = 60
_PAUSE_SECS = 1
_EVENTS_RETRY_SECS = 5.0
_QUIET_SECS = 300  # a log without a line for so long is asked for again
# Too many requests, and what load balancers and restarting API servers say.
_TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}


class ApiRefused(RuntimeError):
    """The API server refused a call or could not be reached.

    Attributes:
      what: happened, in a phrase.
      to_do: about it.
      status: HTTP status; 0 where there was no answer.
    """

    def __init__(self, what: str, to_do: str, status: int) -> None:
        super().__init__(f"{what} {to_do}")
        self.what = what
        self.to_do = to_do
        self.status = status


@dataclass(frozen=True)
class Kind:
    """A kind of workload, as the API server's addresses name it."""

    group: str
    version: str
    plural: str


JOB = Kind("batch", "v1", "jobs")
JOBSET = Kind("jobset.x-k8s.io", "v1alpha2", "jobsets")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "networkpolicies")


class Cluster:
    """One namespace of a cluster."""

    def __init__(self, api: client.ApiClient, namespace: str, retry_secs: float) -> None:
        self.namespace = namespace
        self.retry_secs = retry_secs
        self._core = client.CoreV1Api(api)
        # Takes and gives plain dicts, of any group: for Jobs and JobSets alike.
        self._objects = client.CustomObjectsApi(api)

    def create(self, kind: Kind, body: Manifest) -> Workload:
        """Creates a workload.

        Raises:
          ApiRefused: with status 409 if there is one of that name.
        """
        created = self._call(
            f"create {kind.plural}",
            lambda: self._objects.create_namespaced_custom_object(
                kind.group, kind.version, self.namespace, kind.plural, body, **_TIMEOUT
            ),
        )
        return read_workload(created)

    def get(self, kind: Kind, name: str) -> Workload | None:
        """A workload; None if there is none of that name."""
        try:
            found = self._call(
                f"get {kind.plural}",
                lambda: self._objects.get_namespaced_custom_object(
                    kind.group, kind.version, self.namespace, kind.plural, name, **_TIMEOUT
                ),
            )
        except ApiRefused as refused:
            if refused.status == 404:
                return None
            raise
        return read_workload(found)

    def find(self, kind: Kind, selector: str) -> list[Workload]:
        """Workloads with these labels."""
        found = self._call(
            f"list {kind.plural}",
            lambda: self._objects.list_namespaced_custom_object(
                kind.group,
                kind.version,
                self.namespace,
                kind.plural,
                label_selector=selector,
                **_TIMEOUT,
            ),
        )
        return [read_workload(one) for one in found["items"]]

    def delete(self, kind: Kind, name: str, retry_secs: float | None = None) -> None:
        """Deletes a workload with its pods; does nothing if it is gone already."""
        try:
            self._call(
                f"delete {kind.plural}",
                lambda: self._objects.delete_namespaced_custom_object(
                    kind.group,
                    kind.version,
                    self.namespace,
                    kind.plural,
                    name,
                    propagation_policy="Background",
                    **_TIMEOUT,
                ),
                retry_secs,
            )
        except ApiRefused as refused:
            if refused.status != 404:
                raise

    def create_service(self, body: Manifest) -> None:
        """Creates a Service; does nothing if it is there."""
        try:
            self._call(
                "create services",
                lambda: self._core.create_namespaced_service(self.namespace, body, **_TIMEOUT),
            )
        except ApiRefused as refused:
            if refused.status != 409:
                raise

    def create_network_policy(self, body: Manifest) -> None:
        """Creates a NetworkPolicy; does nothing if it is there."""
        try:
            self.create(NETWORK_POLICY, body)
        except ApiRefused as refused:
            if refused.status != 409:
                raise

    def workers(self, selector: str) -> list[Worker]:
        """Workers whose pods have these labels."""
        answer = self._call(
            "list pods",
            lambda: (
                self._core.list_namespaced_pod(
                    self.namespace, label_selector=selector, _preload_content=False, **_TIMEOUT
                ).data
            ),
        )
        return [read_worker(pod) for pod in json.loads(answer)["items"]]

    def warnings(self, uid: str) -> list[WarningEvent]:
        """The warning events about one object, in no particular order.

        They explain, and nothing depends on them: this does not retry for long.
        """
        answer = self._call(
            "list events",
            lambda: (
                self._core.list_namespaced_event(
                    self.namespace,
                    field_selector=f"involvedObject.uid={uid},type=Warning",
                    _preload_content=False,
                    **_TIMEOUT,
                ).data
            ),
            _EVENTS_RETRY_SECS,
        )
        return [read_warning(event) for event in json.loads(answer)["items"]]

    def log(self, pod: str, container: str, lines: int) -> list[str]:
        """The last lines of a pod's log; empty if the pod or its log is gone."""
        try:
            answer = self._call(
                "get pods/log",
                lambda: (
                    self._core.read_namespaced_pod_log(
                        pod,
                        self.namespace,
                        container=container,
                        tail_lines=lines,
                        _preload_content=False,
                        **_TIMEOUT,
                    ).data
                ),
            )
        except ApiRefused as refused:
            # 400: the container never started.
            if refused.status in (400, 404):
                return []
            raise
        return str(answer.decode("utf-8", errors="replace")).splitlines()

    def follow_log(self, pod: str, container: str, since_secs: int | None) -> Iterator[bytes]:
        """Lines of a pod's log with timestamps, as they come. Does not retry.

        Raises:
          ApiException, urllib3.exceptions.HTTPError: as the connection ends.
        """
        since = {} if since_secs is None else {"since_seconds": since_secs}
        answer = self._core.read_namespaced_pod_log(
            pod,
            self.namespace,
            container=container,
            follow=True,
            timestamps=True,
            _preload_content=False,
            _request_timeout=(_CONNECT_SECS, _QUIET_SECS),
            **since,
        )
        try:
            rest = b""
            for part in answer.stream(amt=None, decode_content=False):
                *lines, rest = (rest + part).split(b"\n")
                yield from lines
            if rest:
                yield rest
        finally:
            answer.close()
            answer.release_conn()

    def changes(self, kind: Kind, name: str, every_secs: int) -> Iterator[Workload | None]:
        """A workload now, at each of its changes, and at least every so often.

        A watch is cut off by servers, proxies and time, and its place may be forgotten (410
        Gone): each time the object is read again and watched from there. None: it is gone.
        """
        while True:
            found = self.get(kind, name)
            yield found
            if found is None:
                return
            try:
                for changed in self._watch(kind, name, found.version, every_secs):
                    yield changed
                    if changed is None:
                        return
            except (ApiException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                # ValueError: half a line, or half a character, of a cut connection.
                if isinstance(error, ApiException) and error.status in (401, 403):
                    raise _refused(f"watch {kind.plural}", self.namespace, error) from error
                time.sleep(_PAUSE_SECS)

    def _watch(
        self, kind: Kind, name: str, version: str, every_secs: int
    ) -> Iterator[Workload | None]:
        events = watch.Watch().stream(
            self._objects.list_namespaced_custom_object,
            kind.group,
            kind.version,
            self.namespace,
            kind.plural,
            field_selector=f"metadata.name={name}",
            resource_version=version,
            timeout_seconds=every_secs,
            # A connection that is dead without saying so.
            _request_timeout=(_CONNECT_SECS, every_secs + _READ_SECS),
        )
        for event in events:
            yield None if event["type"] == "DELETED" else read_workload(event["object"])

    def _call(self, what: str, call: Callable[[], _T], retry_secs: float | None = None) -> _T:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_delay(self.retry_secs if retry_secs is None else retry_secs),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=15),
            retry=tenacity.retry_if_exception(_is_transient),
            reraise=True,
        )
        try:
            return retrying(call)
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            raise _refused(what, self.namespace, error) from error


_TIMEOUT: dict[str, Any] = {"_request_timeout": (_CONNECT_SECS, _READ_SECS)}


def connect(settings: KubernetesSettings) -> Cluster:
    """The cluster that this process runs in, or that of the kubeconfig. Calls nothing yet.

    Raises:
      ApiRefused: if there is neither.
    """
    try:
        if settings.kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            configuration = client.Configuration()
            config.load_incluster_config(client_configuration=configuration)
            api = client.ApiClient(configuration)
            own = (SERVICE_ACCOUNT_DIR / "namespace").read_text(encoding="utf-8").strip()
        else:
            api = config.new_client_from_config(settings.kubeconfig, settings.context)
            own = _namespace_of_kubeconfig(settings)
    except (config.ConfigException, OSError) as error:
        raise ApiRefused(
            f"no cluster is known here: {error}",
            "Run the launcher in a pod with a service account, or set kubeconfig.",
            0,
        ) from error
    return Cluster(api, settings.namespace or own, settings.api_retry_secs)


def _namespace_of_kubeconfig(settings: KubernetesSettings) -> str:
    contexts, active = config.list_kube_config_contexts(settings.kubeconfig)
    chosen = next((one for one in contexts if one["name"] == settings.context), active)
    return str(chosen["context"].get("namespace", "default"))


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, ApiException):
        return error.status in _TRANSIENT_STATUS
    # A certificate that is not trusted will not be trusted later.
    untrusted = isinstance(
        getattr(error, "reason", None), (ssl.SSLError, urllib3.exceptions.SSLError)
    )
    return isinstance(error, urllib3.exceptions.HTTPError) and not untrusted


def _refused(what: str, namespace: str, error: Exception) -> ApiRefused:
    status = error.status if isinstance(error, ApiException) else 0
    verb, resource = what.split()
    what_failed = f"could not {what} in namespace {namespace!r}: {_said(error)}"
    settings = "Look at the launcher's settings (cluster): the cluster rejects what they ask for."
    to_do = {
        400: settings,
        401: "The token is not accepted: log in again, or look at the pod's service account.",
        403: (
            f"The launcher's service account needs this: kubectl auth can-i {verb} {resource} "
            f"-n {namespace}. kubeflow/manifests/base/launcher.yaml has the Role and its binding."
        ),
        404: f"Is there a namespace {namespace}, and does the cluster know {resource}?"
        + (" The JobSet controller must be installed." if resource == JOBSET.plural else ""),
        409: "There is one of that name.",
        422: settings,
        0: "Is the API server up, and can this pod reach it?",
    }
    return ApiRefused(what_failed, to_do.get(status or 0, "Try again later."), status or 0)


def _said(error: Exception) -> str:
    """The server's own words."""
    if not isinstance(error, ApiException):
        return str(error)
    try:
        message = json.loads(error.body)["message"]
    except (ValueError, TypeError, KeyError):
        message = error.reason
    return f"{message} (HTTP {error.status})" if error.status else str(message)
