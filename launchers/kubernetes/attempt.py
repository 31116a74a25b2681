"""Follows one attempt of a worker group on Kubernetes to its end, and says why it failed."""

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from launchers import failures
from launchers.failures import Failure, Fault
from launchers.kubernetes import no_pods, objects, status
from launchers.kubernetes.api import ApiRefused, Cluster, Kind
from launchers.kubernetes.no_pods import NoPods
from launchers.kubernetes.pod_log import PodLog
from launchers.kubernetes.settings import KubernetesSettings
from launchers.kubernetes.status import Worker
from launchers.kubernetes.workload import Workload
from launchers.worker_group import LAST_LINES, WorkerGroup

_LOOK_EVERY_SECS = 10
_LOG_WAIT_SECS = 5.0
_KEPT_LINES = 10_000
_DEADLINE = "DeadlineExceeded"
_NO_REASON = "Kubernetes gives no reason"


@dataclass(frozen=True)
class Attempt:
    """One Job or JobSet of a worker group.

    Attributes:
      number: 0 for the first.
      first_start: of the worker group, in seconds since 1970.
    """

    group: WorkerGroup
    settings: KubernetesSettings
    cluster: Cluster
    kind: Kind
    number: int
    first_start: float

    @property
    def name(self) -> str:
        """Of the Job or JobSet."""
        return objects.attempt_name(self.group, self.number)

    def follow(self) -> Failure | None:
        """Waits for the end, telling how it goes. None: all workers ended well.

        Raises:
          ApiRefused: if the API server refuses to tell.
        """
        log: PodLog | None = None
        said = ""
        try:
            for now in self.cluster.changes(self.kind, self.name, _LOOK_EVERY_SECS):
                workers = self._workers()
                log = log or self._follow_chief(workers)
                summary = status.summary(workers, self.group.num_workers)
                without = None if workers else self._find_no_pods(now)
                if without:
                    summary += self._say_no_pods(without)
                said = self._say_once(summary, said)
                over, failure = self._judge(now, workers, without)
                if over:
                    if log:
                        log.wait(_LOG_WAIT_SECS)
                    return failure
        finally:
            if log:
                log.stop()
        raise RuntimeError(f"{self.name} is watched no more")  # `changes` ends with its object

    def _judge(
        self, now: Workload | None, workers: list[Worker], without: NoPods | None
    ) -> tuple[bool, Failure | None]:
        """Whether the attempt is over, and if it failed, how."""
        if now is None or now.is_being_deleted:
            return True, self._was_deleted()
        if now.end:
            # A sidecar may fail after the worker has ended.
            well = now.end.well or status.all_ended_well(workers, self.group.num_workers)
            return True, None if well else self._why_failed(now, workers, now.end.reason)
        if self._are_outlived(workers):
            if status.all_ended_well(workers, self.group.num_workers):
                self._leave_sidecars(workers)
                return True, None
            return True, self._why_failed(now, workers, "")
        failure = self._cannot_start(workers) or self._has_no_pods(without)
        return failure is not None, failure

    def _find_no_pods(self, now: Workload | None) -> NoPods | None:
        if now is None or now.is_being_deleted or now.end:
            return None
        return no_pods.find(self.cluster, self.kind, now)

    def _say_no_pods(self, without: NoPods) -> str:
        """What else to say of a job without pods, as long as it may still get some."""
        if without.suspended:
            return "; the job is suspended, as by Kueue until its queue has room"
        if without.secs < min(_LOOK_EVERY_SECS, self.settings.pending_secs):
            return ""
        why = no_pods.reasons(self.cluster, self.kind, without.jobs)
        return f"; no pods: {why.text or _NO_REASON}"

    def _has_no_pods(self, without: NoPods | None) -> Failure | None:
        if without is None or without.suspended or without.secs <= self.settings.pending_secs:
            return None
        why = no_pods.reasons(self.cluster, self.kind, without.jobs)
        failure = failures.failure(
            Fault.NO_PODS, secs=self.settings.pending_secs, detail=why.text or _NO_REASON
        )
        return replace(failure, to_do=why.to_do)

    def _are_outlived(self, workers: list[Worker]) -> bool:
        """Whether sidecars keep running though a worker failed, or all workers ended.

        A sidecar that Kubernetes itself ends after the worker has the pod's grace period for it.
        """
        kept = [worker for worker in workers if worker.kept_by]
        failed = [worker for worker in kept if worker.state == "failed"]
        if not failed and not status.all_ended_well(workers, self.group.num_workers):
            return False
        patience = self.settings.grace_secs
        return bool(kept) and all(one.ended_secs() > patience for one in failed or kept)

    def _leave_sidecars(self, workers: list[Worker]) -> None:
        """Deletes a job that has done its work but would run until its deadline."""
        names = ", ".join(sorted({name for worker in workers for name in worker.kept_by}))
        self.say(
            f"all {self.group.num_workers} workers have ended well, but {names} runs on: "
            f"{self.name} is deleted"
        )
        try:
            self.cluster.delete(self.kind, self.name)
        except ApiRefused as refused:
            self.say(f"{refused}\n  {self.name} may still run.")

    def say(self, text: str) -> None:
        """Writes one line about this worker group to the launcher's log."""
        tell(f"{self.group.name}: {text}")

    def _say_once(self, text: str, before: str) -> str:
        if text != before:
            self.say(text)
        return text

    def _workers(self) -> list[Worker]:
        workers = self.cluster.workers(objects.selector(self.group, self.number))
        return sorted(workers, key=lambda worker: worker.index)

    def _follow_chief(self, workers: list[Worker]) -> PodLog | None:
        chief = next((one for one in workers if one.index == 0 and one.state != "waiting"), None)
        if chief is None:
            return None
        return PodLog(
            self.cluster,
            chief.pod,
            objects.CONTAINER,
            self._log_file("chief"),
            tell,
        )

    def _log_file(self, worker: str) -> Path:
        folder = Path(self.group.log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{worker.replace(' ', '-')}.log"

    def _why_failed(self, now: Workload, workers: list[Worker], said: str) -> Failure:
        self._keep_logs(workers)
        failed = {one.index: one for one in workers if one.state == "failed"}
        ending = failures.culprit(one.ending for one in failed.values())
        first = failed[ending.index] if ending else None
        lines = self._last_lines(first) if first else ()
        # A JobSet does not say why its job failed.
        if _DEADLINE in said or self._is_late():
            return self._too_late(lines)
        if first is None or ending is None:
            if self.cluster.get(self.kind, self.name) is None:
                return self._was_deleted()
            return failures.failure(Fault.VANISHED, detail=said)
        failure = failures.failure(ending.fault, first.name, first.exit_code, detail=first.reason)
        return replace(
            failure,
            what=failure.what + self._beside(now, workers, first, ending.fault),
            where=f"pod {first.pod}",
            last_lines=lines,
        )

    def _beside(self, now: Workload, workers: list[Worker], first: Worker, fault: Fault) -> str:
        """What else to say of a group whose first failure is known."""
        text = ""
        idle = next((one for one in workers if one.state == "waiting"), None)
        if idle:
            text += f"; {idle.name} never ran: {idle.reason or _NO_REASON}"
        elif fault is Fault.NOT_STARTED:
            text += self._why_not_all(now)
        if first.kept_by:
            text += f"; {', '.join(first.kept_by)} keeps its pod running"
        return text

    def _why_not_all(self, now: Workload) -> str:
        """Which pods were refused, so that the others timed out; empty if none was."""
        job = no_pods.with_child(self.cluster, self.kind, now)
        why = no_pods.reasons(self.cluster, self.kind, job).text
        return f"; not all pods were created: {why}" if "FailedCreate" in why else ""

    def _last_lines(self, worker: Worker) -> tuple[str, ...]:
        return tuple(self.cluster.log(worker.pod, objects.CONTAINER, LAST_LINES))

    def _keep_logs(self, workers: list[Worker]) -> None:
        """Keeps the logs of workers that failed, which go with their pods. The chief's is kept."""
        for worker in workers:
            if worker.state == "failed" and worker.index > 0:
                lines = self.cluster.log(worker.pod, objects.CONTAINER, _KEPT_LINES)
                with self._log_file(worker.name).open("a", encoding="utf-8") as file:
                    file.writelines(f"{line}\n" for line in lines)

    def _cannot_start(self, workers: list[Worker]) -> Failure | None:
        if self._is_late():
            return self._too_late()
        limit = self.settings.pending_secs
        for worker in workers:
            if worker.state == "waiting" and worker.unrecoverable:
                return failures.failure(Fault.UNRECOVERABLE, worker.name, detail=worker.reason)
            if worker.state == "waiting" and worker.age_secs() > limit:
                return failures.failure(
                    Fault.PENDING, worker.name, secs=limit, detail=worker.reason or _NO_REASON
                )
        return None

    def _was_deleted(self) -> Failure:
        return failures.failure(Fault.DELETED, self.name)

    def _is_late(self) -> bool:
        limit = self.group.limits.deadline_secs
        return bool(limit) and time.time() > self.first_start + limit

    def _too_late(self, lines: tuple[str, ...] = ()) -> Failure:
        failure = failures.failure(Fault.DEADLINE, secs=self.group.limits.deadline_secs)
        return replace(failure, last_lines=lines)


def tell(line: str) -> None:
    """To standard error: what a pod's log shows, at once."""
    print(line, file=sys.stderr, flush=True)
