"""Stands in for the API server of Kubeflow Pipelines (v2beta1): checks what it is sent as
the real one does, keeps it, and tells of runs as the test says.

What it follows, in kubeflow/pipelines 2.14 to 2.17:

- Where a run's artifacts go. The API server copies `runtime_config.pipeline_root` of the
  request, and nothing else, into the job's `GcsOutputDirectory`
  (`modelToPipelineJobRuntimeConfig`, backend/src/apiserver/template). The driver of the root
  DAG takes that, or, where it is empty, `DefaultPipelineRoot()` of backend/src/v2/config/env.go:
  the ConfigMap `kfp-launcher`, else `minio://mlpipeline/v2/artifacts`. The spec's own
  `defaultPipelineRoot` is never read.
- Uploads: backend/src/apiserver/server/pipeline_upload_server.go. The first version has the
  pipeline's name; a second one of a name is HTTP 409.
- Lists of runs in multi-user mode need a namespace even with an experiment (run_server.go,
  `ListRuns`).
- Terminating a run that has ended is refused (`TerminateRun`, storage/run_store.go), and so is
  retrying one that has not failed (`GenerateRetryExecution`, common/util/workflow.go).
- Logs: run_log_server.go, by the name of a pod; HTTP 500 with `error_message` if it is gone. The
  server of the user interface (frontend/server) does not pass that path on: it has
  `/k8s/pod/logs` (handlers/pod-logs.ts), and shows its page for every address it does not know.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from .http_server import Asked, Raw

API = "/apis/v2beta1"
DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"
PAGE = Raw("<!doctype html><title>Log in</title>", "text/html; charset=utf-8")

_ACTIVE = ("PENDING", "RUNNING", "PAUSED", "RUNTIME_STATE_UNSPECIFIED")


@dataclass
class Kubeflow:
    """One deployment.

    Attributes:
      token: without it nobody is let in; None: everybody is.
      cookie: the same for the cookie of a proxy in front.
      login: what that proxy does with others: AuthService makes a `redirect` to Dex; oauth2-proxy
        shows a page with HTTP 403 (`forbidden`, `SignInPage` in its oauthproxy.go); others show
        a `page` with HTTP 200.
      on_rejected: called when somebody is not let in.
      states: how a run does, look by look; the last one stays.
      outages: how many looks at a run fail with 503 first.
      launcher_root: `defaultPipelineRoot` of the ConfigMap `kfp-launcher`, if there is one.
      is_ui: whether this is the server of the user interface, which passes the API on.
      logs: what the pods have written, by their names.
    """

    token: str | None = None
    cookie: str | None = None
    login: str = "redirect"
    on_rejected: Callable[[], None] = lambda: None
    multi_user: bool = False
    states: list[dict[str, Any]] = field(default_factory=lambda: [{"state": "SUCCEEDED"}])
    outages: int = 0
    launcher_root: str = ""
    is_ui: bool = False
    logs: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    recurring_runs: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, asked: Asked) -> tuple[int, Any]:
        if self.cookie and asked.headers.get("cookie") != self.cookie:
            return self._to_login()
        if asked.path.startswith("/dex/"):
            return 200, PAGE
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            self.on_rejected()
            return 401, {"error": "Unauthenticated", "message": "no valid token"}
        if asked.path.startswith(API):
            return self._api(asked)
        return self._log(asked)

    def _to_login(self) -> tuple[int, Any]:
        self.on_rejected()
        if self.login != "redirect":
            return 403 if self.login == "forbidden" else 200, PAGE
        return 302, Raw("", headers={"Location": "/dex/auth?client_id=kubeflow"})

    def _api(self, asked: Asked) -> tuple[int, Any]:
        path = asked.path.removeprefix(API)
        kind, *rest = path.strip("/").split("/")
        if kind == "healthz":
            return 200, {"multi_user": self.multi_user}
        if kind == "experiments":
            return self._experiments(asked)
        if kind == "pipelines":
            return self._pipelines(rest, asked)
        if kind == "runs" and rest:
            return self._one_run(*rest[0].partition(":")[::2])
        if kind == "runs" and asked.method == "POST":
            return self._create(self.runs, "run_id", asked.body)
        if kind == "runs":
            return self._list_runs(asked.query)
        if kind == "recurringruns" and asked.method == "POST":
            return self._create(self.recurring_runs, "recurring_run_id", asked.body)
        if kind == "recurringruns":
            of = asked.query["experiment_id"]
            found = [one for one in self.recurring_runs if one["experiment_id"] == of]
            return 200, {"recurringRuns": found, "total_size": len(found)}
        return 404, {"message": f"there is no {asked.path}"}

    def root_of(self, run: dict[str, Any]) -> str:
        """Where the artifacts of a run, or of recurring runs, go."""
        sent = run.get("runtime_config", {}).get("pipeline_root")
        return sent or self.launcher_root or DEFAULT_ROOT

    def _experiments(self, asked: Asked) -> tuple[int, Any]:
        if self.multi_user and "namespace" not in (asked.body or asked.query):
            return 400, {"message": "a namespace is needed in multi-user mode"}
        if asked.method == "POST":
            made = {**asked.body, "experiment_id": f"experiment-{len(self.experiments)}"}
            self.experiments.append(made)
            return 200, made
        return 200, {"experiments": _named(asked, self.experiments)}

    def _pipelines(self, rest: list[str], asked: Asked) -> tuple[int, Any]:
        if rest == ["upload"]:
            return self._upload(asked)
        if rest == ["upload_version"]:
            return self._add_version(asked.query["pipelineid"], asked.query["name"], asked)
        if not rest:
            return 200, {"pipelines": _named(asked, self.pipelines)}
        found = [one for one in self.versions if one["pipeline_id"] == rest[0]]
        if rest[1:] == ["versions"]:
            return 200, {"pipeline_versions": found}
        wanted = [one for one in found if one["pipeline_version_id"] == rest[2]]
        return (200, wanted[0]) if wanted else (404, {"message": "no such pipeline version"})

    def _upload(self, asked: Asked) -> tuple[int, Any]:
        name = asked.query["name"]
        if self.multi_user and not asked.query.get("namespace"):
            return 400, {"error_message": "Invalid namespace"}
        if any(one["display_name"] == name for one in self.pipelines):
            return 409, {"error_message": "Failed to create a pipeline and a pipeline version"}
        made = {
            "pipeline_id": f"pipeline-{len(self.pipelines)}",
            "display_name": name,
            "namespace": asked.query.get("namespace", ""),
            "tags": json.loads(asked.query.get("tags", "{}")),
        }
        status, answer = self._add_version(made["pipeline_id"], name, asked)
        if status == 200:
            self.pipelines.append(made)
        return (200, made) if status == 200 else (status, answer)

    def _add_version(self, pipeline_id: str, name: str, asked: Asked) -> tuple[int, Any]:
        same = [one for one in self.versions if one["pipeline_id"] == pipeline_id]
        if any(one["display_name"] == name for one in same):
            return 409, {"error_message": "Failed to create a pipeline version"}
        spec, *platform = yaml.safe_load_all(asked.body["uploadfile"])
        stored = {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
        problem = _problem(stored)
        if problem:
            return 400, {"error_message": problem}
        made = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": f"version-{len(self.versions)}",
            "display_name": name,
            "pipeline_spec": stored,
            "tags": json.loads(asked.query.get("tags", "{}")),
        }
        self.versions.append(made)
        return 200, made

    def _create(self, kept: list[dict[str, Any]], key: str, body: Any) -> tuple[int, Any]:
        reference = body.get("pipeline_version_reference")
        if reference:
            keys = ("pipeline_id", "pipeline_version_id")
            if not any(all(one[k] == reference[k] for k in keys) for one in self.versions):
                return 404, {"message": "no such pipeline version"}
        else:
            problem = _problem(body["pipeline_spec"])
            if problem:
                return 400, {"message": problem}
        if all(body["experiment_id"] != one["experiment_id"] for one in self.experiments):
            return 404, {"message": "no such experiment"}
        made = {
            **body,
            key: f"{key}-{len(kept)}",
            "state": "PENDING",
            "created_at": f"2026-01-01T00:00:{len(kept):02d}Z",
            # The converter writes the zero of a database as the start of 1970.
            "finished_at": "1970-01-01T00:00:00Z",
        }
        kept.append(made)
        return 200, made

    def _list_runs(self, query: dict[str, str]) -> tuple[int, Any]:
        if self.multi_user and not query.get("namespace"):
            return 400, {"message": "Invalid ListRuns request. No namespace provided"}
        of = query.get("experiment_id")
        found = [one for one in self.runs if of in (None, one["experiment_id"])]
        assert query["sort_by"] == "created_at desc"
        found.sort(key=lambda one: str(one["created_at"]), reverse=True)
        start, size = int(query.get("page_token") or 0), int(query["page_size"])
        more = start + size < len(found)
        return 200, {
            "runs": found[start : start + size],
            "total_size": len(found),
            **({"next_page_token": str(start + size)} if more else {}),
        }

    def _one_run(self, run_id: str, action: str) -> tuple[int, Any]:
        if not action and self.outages:
            self.outages -= 1
            return 503, {"message": "out of order"}
        run = next((one for one in self.runs if one["run_id"] == run_id), None)
        if run is None:
            return 404, {"code": 5, "message": f"Run {run_id} not found."}
        if action == "terminate":
            if run["state"] not in _ACTIVE:
                return 400, {"message": f"Failed to terminate a run {run_id}. Row not found"}
            run["state"] = "CANCELING"
            return 200, {}
        if action == "retry":
            if run["state"] != "FAILED":
                return 400, {"message": "Workflow must be Failed/Error to retry"}
            run["state"] = "RUNNING"
            return 200, {}
        latest = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        run["state"] = latest["state"]
        return 200, {**run, **latest}

    def _log(self, asked: Asked) -> tuple[int, Any]:
        of_api = re.fullmatch(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", asked.path)
        if of_api and not self.is_ui:
            text = self.logs.get(of_api[2])
            gone = {"error_message": f"Failed to read logs for run {of_api[1]}"}
            return (500, gone) if text is None else (200, Raw(text))
        if asked.path == "/k8s/pod/logs" and self.is_ui:
            if self.multi_user and not asked.query.get("podnamespace"):
                return 422, Raw("podnamespace argument is required")
            text = self.logs.get(asked.query["podname"])
            gone = Raw("Could not get main container logs: Error: no such pod")
            return (500, gone) if text is None else (200, Raw(text))
        return (200, PAGE) if self.is_ui else (404, Raw("404 page not found"))


def _named(asked: Asked, kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that a filter names and whose namespace is the one asked for."""
    (predicate,) = json.loads(asked.query["filter"])["predicates"]
    assert (predicate["operation"], predicate["key"]) == ("EQUALS", "display_name")
    namespace = asked.query.get("namespace")
    return [
        one
        for one in kept
        if one["display_name"] == predicate["stringValue"]
        and namespace in (None, one.get("namespace"))
    ]


def _problem(sent: dict[str, Any]) -> str:
    """What is wrong with a pipeline, if anything."""
    try:
        spec = json_format.ParseDict(sent.get("pipeline_spec", sent), spec_pb2.PipelineSpec())
        json_format.ParseDict(sent.get("platform_spec", {}), spec_pb2.PlatformSpec())
    except json_format.ParseError as error:
        return f"invalid pipeline spec: {error}"
    return "" if spec.schema_version == "2.1.0" else f"schema {spec.schema_version}"
