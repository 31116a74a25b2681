"""Runs a worker group on Kubernetes: one Indexed Job and its headless Service, or one JobSet.

The settings, `custom_config["worker_group"]["launcher"]` with kind "kubernetes", are the fields of
`launchers.kubernetes.settings.KubernetesSettings`; only `image` must be set.

The launcher may be lost and started again: a job's name follows from the worker group's, and one
that is there already is adopted if it was started for the same request.
The number of its attempt is in its name, so the bound on restarts holds then too.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

from launchers import failures
from launchers.failures import Failure
from launchers.kubernetes import api, network, objects
from launchers.kubernetes.api import ApiRefused
from launchers.kubernetes.attempt import Attempt
from launchers.kubernetes.settings import KubernetesSettings
from launchers.kubernetes.workload import Workload
from launchers.worker_group import WorkerGroup, WorkerGroupFailed

LAUNCHER = "the launcher"

# A pod has 30 seconds from SIGTERM on, for everything.
_LAST_CALL_SECS = 10.0
_PAUSE_SECS = 1.0
_AGAIN_SECS = 2.0


@dataclass(frozen=True)
class KubernetesLauncher:
    """Runs worker groups in one namespace of a cluster."""

    settings: KubernetesSettings

    def run(self, group: WorkerGroup) -> None:
        """Starts the worker group's job, or adopts it, and waits for its end.

        On failure, SIGTERM and Ctrl-C the job is deleted before this raises. One that ended
        well is kept for `settings.keep_secs`.

        Raises:
          WorkerGroupFailed: if it failed for good, or the cluster refused something.
          SystemExit: 143, on SIGTERM.
        """
        jobset = self.settings.workload == "jobset"
        try:
            cluster = api.connect(self.settings)
            first = Attempt(
                group=_with_deadline(group, self.settings),
                settings=self.settings,
                cluster=cluster,
                kind=api.JOBSET if jobset else api.JOB,
                number=0,
                first_start=time.time(),
            )
            with _sigterm_raises():
                _run(first)
        except ApiRefused as refused:
            failure = Failure(LAUNCHER, refused.what, refused.to_do)
            raise WorkerGroupFailed(group.name, failure) from refused


def _with_deadline(group: WorkerGroup, settings: KubernetesSettings) -> WorkerGroup:
    deadline_secs = group.limits.deadline_secs or settings.deadline_secs
    return replace(group, limits=replace(group.limits, deadline_secs=deadline_secs))


def _run(attempt: Attempt) -> None:
    """Runs attempts until one ends well; leaves no job behind if none does."""
    job = _newest_job(attempt)
    if job:
        attempt = _adopt(attempt, job)
    try:
        if job:
            _make_network(attempt, job)
        else:
            _start(attempt)
        while failure := attempt.follow():
            limits = attempt.group.limits
            if not limits.allow_restart(failure, attempt.number):
                raise WorkerGroupFailed(attempt.group.name, failure.after(attempt.number))
            notice = failures.restart_notice(
                failure.headline(), attempt.number + 1, limits.max_restarts
            )
            # The pod's log goes with the pod.
            attempt.say("\n".join([notice, *(f"  | {line}" for line in failure.last_lines)]))
            attempt.cluster.delete(attempt.kind, attempt.name)
            attempt = replace(attempt, number=attempt.number + 1)
            _start(attempt)
    except _NotOurs as other:
        raise other.error from None
    except BaseException:
        _delete_whatever_happens(attempt)
        raise
    attempt.say(f"all {attempt.group.num_workers} workers have ended well")


class _NotOurs(Exception):
    """A job of our name belongs to somebody else, and must be left alone."""

    def __init__(self, error: WorkerGroupFailed) -> None:
        super().__init__(str(error))
        self.error = error


def _newest_job(attempt: Attempt) -> Workload | None:
    """The worker group's last job, if there is one that nobody has deleted."""
    found = attempt.cluster.find(attempt.kind, objects.selector(attempt.group))
    jobs = [job for job in found if not job.is_being_deleted]
    return max(jobs, key=lambda job: job.attempt, default=None)


def _adopt(attempt: Attempt, job: Workload) -> Attempt:
    """The attempt that `job` is.

    Raises:
      WorkerGroupFailed: if it is not of this request.
    """
    _check_same_request(attempt, job)
    attempt = replace(attempt, number=job.attempt, first_start=job.first_start)
    attempt.say(f"resumes {attempt.name}, which exists already")
    return attempt


def _start(attempt: Attempt) -> None:
    """Creates the job, once nothing of an earlier attempt is left."""
    _wait_for_pods_to_go(attempt)
    body = objects.workload(
        attempt.group, attempt.settings, attempt.number, attempt.first_start, time.time()
    )
    try:
        job = attempt.cluster.create(attempt.kind, body)
    except ApiRefused as refused:
        found = attempt.cluster.get(attempt.kind, attempt.name) if refused.status == 409 else None
        if found is None:
            raise
        # Made by a call whose answer was lost, or by another launcher a moment ago.
        try:
            _check_same_request(attempt, found)
        except WorkerGroupFailed as error:
            raise _NotOurs(error) from refused
        job = found
    _make_network(attempt, job)
    attempt.say(
        f"started {attempt.name} in namespace {attempt.cluster.namespace}: "
        f"{attempt.group.num_workers} workers of {attempt.settings.image}"
    )


def _make_network(attempt: Attempt, job: Workload) -> None:
    """Gives the pods their host names, and lets nobody else connect to them."""
    if attempt.settings.network_policy:
        attempt.cluster.create_network_policy(
            network.network_policy(job, jobset=attempt.kind is api.JOBSET)
        )
    if attempt.kind is api.JOB:
        attempt.cluster.create_service(network.service(job, attempt.settings.port))


def _check_same_request(attempt: Attempt, job: Workload) -> None:
    """Two different jobs may have one name after a change of settings, or by accident."""
    ours = objects.fingerprint(attempt.group, attempt.settings)
    if job.fingerprint == ours:
        return
    name, plural = job.name, attempt.kind.plural
    raise WorkerGroupFailed(
        attempt.group.name,
        Failure(
            LAUNCHER,
            f"found {name}, which was started for another request or with other settings",
            f"If nobody needs it: kubectl -n {attempt.cluster.namespace} delete {plural} {name}",
        ),
    )


def _wait_for_pods_to_go(attempt: Attempt) -> None:
    """Two attempts at once would write into the same folders.

    Raises:
      WorkerGroupFailed: if a pod stays much longer than it may.
    """
    until = time.monotonic() + attempt.settings.grace_secs + attempt.settings.api_retry_secs
    while workers := attempt.cluster.workers(objects.selector(attempt.group)):
        if time.monotonic() > until:
            raise WorkerGroupFailed(
                attempt.group.name,
                Failure(
                    LAUNCHER,
                    f"timed out waiting for the pod {workers[0].pod} of an earlier attempt to end",
                    "Is its node lost? Delete the node, or the pod with --force.",
                ),
            )
        time.sleep(_PAUSE_SECS)


def _delete_whatever_happens(attempt: Attempt) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing must cut this short
    try:
        attempt.cluster.delete(attempt.kind, attempt.name, retry_secs=_LAST_CALL_SECS)
    except ApiRefused as refused:
        attempt.say(f"{refused}\n  {attempt.name} may still run; running this again adopts it.")


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Lets SIGTERM end the work in an orderly way, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    again: list[threading.Timer] = []

    def exit_(number: int, frame: FrameType | None) -> None:
        # An exception is lost where a destructor happens to run: then it is raised once more.
        again.append(threading.Timer(_AGAIN_SECS, os.kill, (os.getpid(), number)))
        again[-1].daemon = True
        again[-1].start()
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, exit_)
    try:
        yield
    finally:
        for timer in again:
            timer.cancel()
        signal.signal(signal.SIGTERM, before)
