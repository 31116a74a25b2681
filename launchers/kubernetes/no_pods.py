"""Why a job has no pods: it is suspended, or Kubernetes refuses to create them.

A quota, Pod Security or a missing service account stop pods, not the Job: its status says
nothing, and its controller tries again for ever. The reason is only in its events.
"""

import re
import time
from dataclasses import dataclass

from launchers.kubernetes.api import JOB, ApiRefused, Cluster, Kind
from launchers.kubernetes.objects import child_job_name
from launchers.kubernetes.warning_events import WarningEvent
from launchers.kubernetes.workload import Workload

_MAX_REASONS = 2
_MAX_CHARACTERS = 500
# One event stands for many after a while (client-go's EventAggregator).
_COMBINED = "(combined from similar events): "
# The end of a pod's name is another one with each attempt to create it.
_RANDOM_SUFFIX = re.compile(r'(pods "[^"]+-)[a-z0-9]{5}"')

_TO_DO = {
    "must specify limits.cpu": "Set cluster.launcher.cpu_limit, as the namespace's quota requires.",
    "must specify": "Set what the namespace's quota requires, under cluster.launcher.",
    "exceeded quota": "Free some of the namespace's quota, have it raised, or ask for less.",
    "violates PodSecurity": (
        "Change what it names, or the namespace's label pod-security.kubernetes.io/enforce."
    ),
    "error looking up service account": (
        "Create it, or name another one as cluster.launcher.service_account."
    ),
}


@dataclass(frozen=True)
class NoPods:
    """A job without pods.

    Attributes:
      suspended: whether that is as it should be.
      secs: how long it could have had pods, since its creation or since it was resumed.
      jobs: the Job; of a JobSet, that and its Job if there is one.
    """

    suspended: bool
    secs: float
    jobs: list[Workload]


@dataclass(frozen=True)
class Reasons:
    """What the warnings about a job say.

    Attributes:
      text: one phrase; empty if they say nothing.
      to_do: about it.
    """

    text: str
    to_do: str


def find(cluster: Cluster, kind: Kind, workload: Workload) -> NoPods | None:
    """Looks at a job of which no pod is listed; None if it has or had some all the same."""
    jobs = with_child(cluster, kind, workload)
    if any(job.counts_pods for job in jobs):
        return None
    since = max(job.pending_since for job in jobs)
    return NoPods(any(job.is_suspended for job in jobs), time.time() - since, jobs)


def with_child(cluster: Cluster, kind: Kind, workload: Workload) -> list[Workload]:
    """A Job; a JobSet and its Job, which has the pods."""
    if kind is JOB:
        return [workload]
    child = cluster.get(JOB, child_job_name(workload.name))
    return [workload, child] if child else [workload]


def reasons(cluster: Cluster, kind: Kind, jobs: list[Workload]) -> Reasons:
    """The latest warnings about these jobs, each once."""
    look = f"Look at it: kubectl -n {cluster.namespace} describe {kind.plural} {jobs[0].name}"
    try:
        events = [event for job in jobs for event in cluster.warnings(job.uid)]
    except ApiRefused as refused:
        to_do = f"{refused.to_do}\n{look}"
        return Reasons(f"its events could not be read: {refused.what}", to_do)
    events.sort(key=lambda event: event.last_seen, reverse=True)
    texts = list(dict.fromkeys(map(_text, events)))[:_MAX_REASONS]
    text = "; ".join(texts)
    return Reasons(text, next((to_do for part, to_do in _TO_DO.items() if part in text), look))


def _text(event: WarningEvent) -> str:
    message = event.message.removeprefix(_COMBINED)
    message = _RANDOM_SUFFIX.sub(r'\1*"', message)
    text = f"{event.reason}: {message}"
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
