"""Keeps what a process needs to resume in the store, while it works on a local folder."""

import os
import sys
import threading
from types import TracebackType

from trainer.store import s3

_EVERY_SECS = 2.0
# Files that are still being written.
_UNFINISHED = (".part", ".partial")

_STALE = "  The work continues. If this machine is lost, it resumes from an older state."

Stamp = tuple[int, int]


class Mirror:
    """Copies a local folder's files to a store as they change, and from there at the start.

    A context manager. On entry the folder gets what an earlier process has kept. From then on
    each new version of a file is uploaded within seconds, before those that it replaces are
    removed; the rest on exit, however the process got there. A machine that is lost loses
    the last seconds only.

    Example:
      >>> with Mirror("/s3/b/task/.system", "s3://b/task/.system"):
      ...     fit()
    """

    def __init__(self, folder: str, uri: str, writes: bool = True) -> None:
        """Args:
        folder: on this machine; need not exist.
        uri: of the same folder in the store.
        writes: whether to upload; of several workers one does.
        """
        self._folder = folder
        self._uri = uri.rstrip("/")
        self._writes = writes
        self._kept: dict[str, Stamp] = {}
        self._said = ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="mirror")

    def __enter__(self) -> "Mirror":
        s3.download_tree(self._uri, self._folder)
        self._kept = self._files()
        if self._writes:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writes:
            self._end.set()
            self._thread.join()
            self._try()

    def sync(self) -> None:
        """Brings the store up to date.

        Raises:
          StoreError: if the store cannot be written to.
        """
        files = self._files()
        complete = True
        for name, stamp in files.items():
            if self._kept.get(name) == stamp:
                continue
            path = os.path.join(self._folder, name)
            try:
                s3.upload(path, f"{self._uri}/{name}")
                self._kept[name] = stamp
            except FileNotFoundError:
                if os.path.exists(path):
                    raise  # it is the bucket that is missing
                complete = False  # replaced meanwhile; the next look finds what replaced it
        if complete:
            self._remove(set(self._kept) - set(files))

    def _remove(self, names: set[str]) -> None:
        for name in sorted(names):
            s3.remove(f"{self._uri}/{name}")
            del self._kept[name]

    def _files(self) -> dict[str, Stamp]:
        found = {}
        for directory, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.join(directory, name)
                if not name.endswith(_UNFINISHED) and (stamp := _stamp(path)):
                    found[os.path.relpath(path, self._folder)] = stamp
        return found

    def _follow(self) -> None:
        while not self._end.wait(_EVERY_SECS):
            self._try()

    def _try(self) -> None:
        try:
            self.sync()
            self._said = ""
        except (OSError, s3.StoreError) as error:
            if str(error) != self._said:
                self._said = str(error)
                print(f"{error}\n{_STALE}", file=sys.stderr, flush=True)


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size
