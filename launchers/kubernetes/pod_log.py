"""Follows one pod's log in the background, into a file and to the launcher's own log."""

import re
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import urllib3
from kubernetes.client.exceptions import ApiException

from launchers.kubernetes.api import Cluster

_PAUSE_SECS = 1.0
# Nanoseconds are more than `fromisoformat` takes.
_STAMPED = re.compile(
    r"(?P<second>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d) ", re.ASCII
)


class PodLog:
    """The log of a pod that runs or will run, until it ends or `stop`.

    The API server and what lies before it cut long streams; each time the log is asked
    for again from the last line on, by its timestamp, so that no line is lost or shown twice.
    """

    def __init__(
        self, cluster: Cluster, pod: str, container: str, file: Path, say: Callable[[str], None]
    ) -> None:
        self._cluster, self._pod, self._container = cluster, pod, container
        self._file = file
        self._say = say
        self._last = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"log of {pod}", daemon=True)
        self._thread.start()

    def wait(self, secs: float) -> None:
        """Gives the log so long to end by itself."""
        self._thread.join(secs)

    def stop(self) -> None:
        """Leaves the log, wherever it is."""
        self._stopped.set()

    def _follow(self) -> None:
        while not self._stopped.is_set():
            before = self._last
            try:
                for line in self._cluster.follow_log(self._pod, self._container, self._since()):
                    if self._stopped.is_set():
                        return
                    self._take(line.decode("utf-8", errors="replace"))
                # It ended without being cut, and had nothing new: so has the container.
                if self._last == before:
                    return
            except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
                # 400: the container has not started yet. 404: the pod is gone.
                if isinstance(error, ApiException) and error.status in (403, 404):
                    return
            self._stopped.wait(_PAUSE_SECS)

    def _since(self) -> int | None:
        """Whole seconds back to the last line, and a little more; None: from the start."""
        stamp = _STAMPED.match(self._last)
        if not stamp:
            return None
        then = datetime.fromisoformat(stamp["second"] + stamp["zone"].replace("Z", "+00:00"))
        return max(0, int(time.time() - then.timestamp())) + 2

    def _take(self, line: str) -> None:
        stamp = _STAMPED.match(line)
        if stamp:
            if stamp[0] <= self._last:
                return
            self._last = stamp[0]
        text = line[stamp.end() :] if stamp else line
        with self._file.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        self._say(text)
