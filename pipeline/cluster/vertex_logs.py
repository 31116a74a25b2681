"""Reads a task's log from Cloud Logging.

Vertex AI runs each task as a custom job of its own, and Cloud Logging keeps what that writes
under the resource `ml_job` with the job's number. No library for it is installed; the one
request that is needed goes over the session of google-auth.
"""

from collections.abc import Iterator
from typing import Any

from google.auth.transport.requests import AuthorizedSession

from pipeline.cluster.target import ClusterError, Unreachable
from pipeline.cluster.vertex_errors import as_cluster_error

# https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
ENDPOINT = "https://logging.googleapis.com"

_ANSWER_SECS = 60.0
_PAGE = 1000


def custom_jobs(task: Any) -> list[str]:
    """Resource names of the custom jobs that ran a task, the last attempt last.

    Args:
      task: a PipelineTaskDetail.
    """
    container, custom = (
        task.executor_detail.container_detail,
        task.executor_detail.custom_job_detail,
    )
    names = [*container.failed_main_jobs, container.main_job, *custom.failed_jobs, custom.job]
    return list(dict.fromkeys(name for name in names if name))


def read(custom_job: str, project: str, credentials: Any) -> Iterator[str]:
    """The lines of a custom job's log, oldest first; fetched page by page.

    Raises:
      ClusterError: if Cloud Logging does not allow it.
    """
    request: dict[str, Any] = {
        "resourceNames": [f"projects/{project}"],
        "filter": (
            f'resource.type="ml_job" AND resource.labels.job_id="{custom_job.rpartition("/")[2]}"'
        ),
        "orderBy": "timestamp asc",
        "pageSize": _PAGE,
    }
    session = AuthorizedSession(credentials)
    token = None
    while token != "":
        page = _ask(session, {**request, "pageToken": token} if token else request)
        for entry in page.get("entries", []):
            yield from _text(entry).splitlines()
        token = page.get("nextPageToken", "")


def _ask(session: AuthorizedSession, request: dict[str, Any]) -> dict[str, Any]:
    with as_cluster_error():
        answer = session.post(f"{ENDPOINT}/v2/entries:list", json=request, timeout=_ANSWER_SECS)
    if answer.status_code == 200:
        return dict(answer.json())
    message = f"Cloud Logging answers HTTP {answer.status_code}: {answer.text[:500]}"
    if answer.status_code == 429 or answer.status_code >= 500:
        raise Unreachable(message)
    raise ClusterError(message, to_do="Reading logs needs the role roles/logging.viewer.")


def _text(entry: dict[str, Any]) -> str:
    """What an entry says: text, or the message of a structured one."""
    if "textPayload" in entry:
        return str(entry["textPayload"])
    payload = entry.get("jsonPayload", {})
    return str(payload.get("message", payload))
