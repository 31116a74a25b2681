"""Stands in for Vertex AI and Cloud Storage over REST: reads what it is sent with the real
clients' own protos, strictly, keeps it, and tells of jobs as the test says.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from .http_server import Asked

PARENT = "projects/p/locations/europe-west4"


@dataclass
class Vertex:
    """One project with one bucket.

    Attributes:
      states: how a pipeline job does, look by look, as JSON of a PipelineJob; the last one stays.
      refuse: an answer to whatever is created, instead of doing it.
      run_job: called with each custom job; its answer is the job's state.
    """

    bucket: str = "bucket"
    states: list[dict[str, Any]] = field(
        default_factory=lambda: [{"state": "PIPELINE_STATE_SUCCEEDED"}]
    )
    refuse: tuple[int, Any] | None = None
    run_job: Callable[[types.CustomJob], str] = lambda job: "JOB_STATE_SUCCEEDED"
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
        path = asked.path.removeprefix("/v1/").removeprefix(f"{PARENT}/")
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

    def _look(self, path: str) -> tuple[int, Any]:
        told = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return 200, {**_json(self.jobs[path]), **told}


def _read(body: Any, message: Any) -> Any:
    json_format.ParseDict(body, type(message).pb(message))  # unknown keys raise
    return message


def _json(message: Any) -> dict[str, Any]:
    return dict(json_format.MessageToDict(type(message).pb(message)))
