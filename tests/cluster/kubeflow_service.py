"""Stands in for the API server of Kubeflow Pipelines (v2beta1): checks what it is sent as
the real one does, keeps it, and tells of runs as the test says.

Where a run's artifacts go is decided as in kubeflow/pipelines 2.14 to 2.17. The API server
copies `runtime_config.pipeline_root` of the request, and nothing else, into the job's
`GcsOutputDirectory` (`modelToPipelineJobRuntimeConfig`, backend/src/apiserver/template). The
driver of the root DAG takes that, or, where it is empty, `DefaultPipelineRoot()` of
backend/src/v2/config/env.go: the ConfigMap `kfp-launcher`, else
`minio://mlpipeline/v2/artifacts`. The spec's own `defaultPipelineRoot` is never read.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from .http_server import Asked

API = "/apis/v2beta1"
DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"


@dataclass
class Kubeflow:
    """One deployment.

    Attributes:
      token: without it nobody is let in; None: everybody is.
      states: how a run does, look by look; the last one stays.
      outages: how many looks at a run fail with 503 first.
      launcher_root: `defaultPipelineRoot` of the ConfigMap `kfp-launcher`, if there is one.
    """

    token: str | None = None
    multi_user: bool = False
    states: list[dict[str, Any]] = field(default_factory=lambda: [{"state": "SUCCEEDED"}])
    outages: int = 0
    launcher_root: str = ""
    asked: list[Asked] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    recurring_runs: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, asked: Asked) -> tuple[int, Any]:
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"error": "Unauthenticated", "message": "no valid token"}
        path = asked.path.removeprefix(API)
        if path == "/healthz":
            return 200, {"multi_user": self.multi_user}
        if path == "/experiments":
            return self._experiments(asked)
        if path == "/runs" and asked.method == "POST":
            return self._create(self.runs, "run_id", asked.body)
        if path.startswith("/runs/"):
            return self._look(path.removeprefix("/runs/"))
        if path == "/recurringruns" and asked.method == "POST":
            return self._create(self.recurring_runs, "recurring_run_id", asked.body)
        if path == "/recurringruns":
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
        (predicate,) = json.loads(asked.query["filter"])["predicates"]
        wanted = predicate["stringValue"]
        return 200, {
            "experiments": [one for one in self.experiments if one["display_name"] == wanted]
        }

    def _create(self, kept: list[dict[str, Any]], key: str, body: Any) -> tuple[int, Any]:
        sent = body["pipeline_spec"]
        try:
            spec = json_format.ParseDict(sent.get("pipeline_spec", sent), spec_pb2.PipelineSpec())
            json_format.ParseDict(sent.get("platform_spec", {}), spec_pb2.PlatformSpec())
        except json_format.ParseError as error:
            return 400, {"message": f"invalid pipeline spec: {error}"}
        if spec.schema_version != "2.1.0":
            return 400, {"message": f"schema {spec.schema_version} is not supported"}
        if all(body["experiment_id"] != one["experiment_id"] for one in self.experiments):
            return 404, {"message": "no such experiment"}
        made = {**body, key: f"{key}-{len(kept)}", "state": "PENDING"}
        kept.append(made)
        return 200, made

    def _look(self, run_id: str) -> tuple[int, Any]:
        if self.outages:
            self.outages -= 1
            return 503, {"message": "out of order"}
        run = next(one for one in self.runs if one["run_id"] == run_id)
        told = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return 200, {"run_id": run_id, "display_name": run["display_name"], **told}
