"""Stands in for Vertex AI, Cloud Storage, Cloud Logging and Artifact Registry over REST: reads
what it is sent with the real clients' own protos, strictly, keeps it, and tells of jobs as the
test says.

Logging follows https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list; the
registry's answer, NAME/sha256:…, is that which kfp 2.16.1 reads
(`RegistryClient.upload_pipeline`).
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from .http_server import Asked, Raw

PARENT = "projects/p/locations/europe-west4"


@dataclass
class Vertex:
    """One project with one bucket.

    Attributes:
      states: how a pipeline job does, look by look, as JSON of a PipelineJob; the last one stays.
      refuse: an answer to whatever is created, instead of doing it.
      logs: what custom jobs have written, by their numbers; a page holds two entries.
      templates: pipelines in the registry, by the name of their version.
      run_job: called with each custom job; its answer is the job's state.
    """

    bucket: str = "bucket"
    states: list[dict[str, Any]] = field(
        default_factory=lambda: [{"state": "PIPELINE_STATE_SUCCEEDED"}]
    )
    refuse: tuple[int, Any] | None = None
    run_job: Callable[[types.CustomJob], str] = lambda job: "JOB_STATE_SUCCEEDED"
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    templates: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    jobs: dict[str, types.PipelineJob] = field(default_factory=dict)
    schedules: list[types.Schedule] = field(default_factory=list)
    custom_jobs: dict[str, types.CustomJob] = field(default_factory=dict)

    def answer(self, asked: Asked) -> tuple[int, Any]:
        if match := re.fullmatch(r"/storage/v1/b/([^/]+)", asked.path):
            found = match[1] == self.bucket
            return (
                (200, {"name": match[1], "projectNumber": "1"})
                if found
                else (404, {"error": {"code": 404}})
            )
        if asked.path == "/token":
            return 400, {"error": "invalid_grant", "error_description": "Token has expired"}
        if asked.path == "/v2/entries:list":
            return self._log(asked.body)
        if asked.path == "/project/repository":
            return self._upload(asked.body)
        path = asked.path.removeprefix("/v1/").removeprefix(f"{PARENT}/")
        if asked.method == "POST" and path.endswith(":cancel"):
            return self._cancel(path.removesuffix(":cancel"))
        if path == "pipelineJobs" and asked.method == "GET":
            return self._list_jobs(asked.query)
        if asked.method == "POST":
            return self.refuse or self._create(path, asked)
        if path.startswith("pipelineJobs/"):
            return self._look(path)
        if path == "schedules":
            return 200, {"schedules": [_json(one) for one in self.schedules]}
        if path in self.custom_jobs:
            return 200, _json(self.custom_jobs[path])
        return 404, {"error": {"code": 404, "message": f"there is no {asked.path}"}}

    def _create(self, path: str, asked: Asked) -> tuple[int, Any]:
        if path == "pipelineJobs":
            job = _read(asked.body, types.PipelineJob())
            identity = asked.query["pipelineJobId"]
            job.name = f"{PARENT}/pipelineJobs/{identity}"
            job.state = types.PipelineState.PIPELINE_STATE_PENDING
            self.jobs[f"pipelineJobs/{identity}"] = job
            return 200, _json(job)
        if path == "schedules":
            schedule = _read(asked.body, types.Schedule())
            schedule.name = f"{PARENT}/schedules/{len(self.schedules)}"
            schedule.state = types.Schedule.State.ACTIVE
            self.schedules.append(schedule)
            return 200, _json(schedule)
        if path == "customJobs":
            made = _read(asked.body, types.CustomJob())
            name = f"customJobs/{len(self.custom_jobs)}"
            made.name = f"{PARENT}/{name}"
            made.state = types.JobState[self.run_job(made)]
            self.custom_jobs[name] = made
            return 200, _json(made)
        return 404, {"error": {"code": 404, "message": f"nothing is made at {asked.path}"}}

    def _cancel(self, path: str) -> tuple[int, Any]:
        if path not in self.jobs:
            return _not_found(path)
        self.jobs[path].state = types.PipelineState.PIPELINE_STATE_CANCELLING
        return 200, {}

    def _list_jobs(self, query: dict[str, str]) -> tuple[int, Any]:
        assert query["orderBy"] == "create_time desc"
        wanted = re.fullmatch(r'pipeline_name="(.+)"', query.get("filter", 'pipeline_name=".*"'))
        assert wanted, query["filter"]
        found = [
            job
            for job in self.jobs.values()
            if re.fullmatch(wanted[1], job.pipeline_spec["pipelineInfo"]["name"])
        ]
        found.sort(key=lambda job: job.create_time, reverse=True)
        start, size = int(query.get("pageToken") or 0), int(query["pageSize"])
        more = start + size < len(found)
        return 200, {
            "pipelineJobs": [_json(job) for job in found[start : start + size]],
            **({"nextPageToken": str(start + size)} if more else {}),
        }

    def _log(self, request: dict[str, Any]) -> tuple[int, Any]:
        assert (request["resourceNames"], request["orderBy"]) == (["projects/p"], "timestamp asc")
        wanted = re.fullmatch(
            r'resource.type="ml_job" AND resource.labels.job_id="(\d+)"', request["filter"]
        )
        if not wanted:
            return 400, {"error": {"code": 400, "message": "Unparseable filter"}}
        entries, start = self.logs.get(wanted[1], []), int(request.get("pageToken", 0))
        more = start + 2 < len(entries)
        return 200, {
            **({"entries": entries[start : start + 2]} if entries else {}),
            **({"nextPageToken": str(start + 2)} if more else {}),
        }

    def _upload(self, form: dict[str, str]) -> tuple[int, Any]:
        if self.refuse:
            return self.refuse
        spec = yaml.safe_load(form["content"])
        version = "sha256:" + hashlib.sha256(form["content"].encode()).hexdigest()
        self.templates[version] = {"tags": form["tags"].split(","), "spec": spec}
        return 200, Raw(f"{spec['pipelineInfo']['name']}/{version}")

    def _look(self, path: str) -> tuple[int, Any]:
        if path not in self.jobs:
            return _not_found(path)
        latest = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return 200, {**_json(self.jobs[path]), **latest}


def _not_found(path: str) -> tuple[int, Any]:
    message = f"The PipelineJob {path} does not exist."
    return 404, {"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}


def _read(body: Any, message: Any) -> Any:
    json_format.ParseDict(body, type(message).pb(message))  # unknown keys raise
    return message


def _json(message: Any) -> dict[str, Any]:
    return dict(json_format.MessageToDict(type(message).pb(message)))
