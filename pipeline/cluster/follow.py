"""Follows a run on a cluster, and reports its tasks as a local run reports its nodes."""

import time
from collections.abc import Callable, Sequence

import tenacity

from pipeline import events
from pipeline.cluster.client import RunStatus, Task
from pipeline.cluster.target import RunFailed, Unreachable

POLL_SECS = 10.0

_OUTAGE_SECS = 300
_LONGEST_WAIT_SECS = 30
# Shorter outages are not worth a word.
_ATTEMPTS_BEFORE_NOTE = 3

OnEvent = Callable[[events.Event], None]


def follow(
    get_status: Callable[[], RunStatus], nodes: Sequence[str], url: str, on_event: OnEvent
) -> None:
    """Asks for a run's status every `POLL_SECS` until it has ended, and reports what changed.

    A service that is unreachable is asked again, for up to 5 minutes at a time.

    Args:
      get_status: asks the service once.
      nodes: all tasks, first to last.
      url: where the run can be watched; named in the error.
      on_event: takes the events of `pipeline.events`.

    Raises:
      RunFailed: naming the tasks that failed and why.
      ClusterError: if the service no longer accepts us, or stays unreachable. The run goes on.
    """
    on_event(events.Plan(tuple(nodes), time.time()))
    patient = _patiently(get_status, on_event)
    known: dict[str, Task] = {}
    while True:
        status = patient()
        for name, task in status.tasks.items():
            if name in nodes and known.get(name) != task:
                known[name] = task
                on_event(events.NodeState(name, task.state, time.time(), error=task.error or None))
        if status.state != events.RUNNING:
            break
        time.sleep(POLL_SECS)
    on_event(events.End(status.state == events.DONE))
    if status.state != events.DONE:
        raise RunFailed(_what_failed(status, url))


def _patiently(get_status: Callable[[], RunStatus], on_event: OnEvent) -> Callable[[], RunStatus]:
    def say(state: tenacity.RetryCallState) -> None:
        if state.attempt_number == _ATTEMPTS_BEFORE_NOTE and state.outcome:
            problem = state.outcome.exception()
            what = problem.what if isinstance(problem, Unreachable) else str(problem)
            on_event(events.Note(f"{what.rstrip('.')}. Trying again; the run goes on."))

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Unreachable),
        wait=tenacity.wait_exponential(max=_LONGEST_WAIT_SECS),
        stop=tenacity.stop_after_delay(_OUTAGE_SECS),
        before_sleep=say,
        reraise=True,
    )
    return retrying.wraps(get_status)


def _what_failed(status: RunStatus, url: str) -> str:
    failed = [
        f"{name} failed: {task.error or 'no reason was given'}"
        for name, task in status.tasks.items()
        if task.state == events.FAILED
    ]
    run_error = [status.error] if status.error else []
    reasons = failed or run_error or ["the run did not succeed, and no reason was given"]
    return "\n".join([*reasons, f"  Its logs: {url}"])
