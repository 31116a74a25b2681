"""Keeps the newest version of a model loaded, as TensorFlow Serving does.

    found → loading → AVAILABLE → (a newer one is AVAILABLE) → END
                   ↘ refused: the old one stays; looked at again when the folder has changed

A request holds the version that it began with: what is replaced lives until its last answer.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.server.loaded import LoadedVersion, load_version
from serving.server.refused import RequestRefused
from serving.versions import find_model, newest_version, number_of

_log = logging.getLogger("thaw.serve")

AVAILABLE, LOADING, END = "AVAILABLE", "LOADING", "END"


@dataclass(frozen=True)
class VersionState:
    """What became of a version: `AVAILABLE`, `LOADING` or `END`, and why it was refused."""

    state: str
    error: str = ""


class Registry:
    """The versions of one model, and the one that is served."""

    def __init__(
        self,
        model_dir: Path,
        poll_secs: float,
        on_change: Callable[[LoadedVersion], None] = lambda version: None,
        load: Callable[[Path], LoadedVersion] = load_version,
    ) -> None:
        """Args:
        model_dir: folder of numbered versions, or one SavedModel.
        poll_secs: how often it is looked at.
        on_change: called with each version that goes live.
        load: loads and warms up one version.
        """
        self._dir = model_dir
        self._poll_secs = poll_secs
        self._on_change = on_change
        self._load = load
        self._current: LoadedVersion | None = None
        self._states: dict[int, VersionState] = {}
        self._refused: dict[Path, float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="versions")

    def start(self) -> None:
        """Loads the newest version, and watches for newer ones from then on.

        Raises:
          UnusableModel: if there is no model.
        """
        find_model(str(self._dir))
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Watches no longer."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_ready(self) -> bool:
        """Whether there is a version to ask."""
        return self._current is not None

    @property
    def states(self) -> Mapping[int, VersionState]:
        """Of every version that was seen."""
        return dict(self._states)

    def current(self, version: str = "") -> LoadedVersion:
        """The version that is served.

        Args:
          version: number that the client asks for; empty: whichever.

        Raises:
          RequestRefused: if it is not loaded.
        """
        current = self._current
        if current is None:
            raise RequestRefused(503, "No version of the model is ready yet.", retry_after=1)
        if version and version != str(current.number):
            raise RequestRefused(
                404, f"Servable not found for request: version {version} is not served."
            )
        return current

    def look(self) -> None:
        """Loads the newest version if it is not the one that is served."""
        path = self._newest()
        if path is None or (self._current and path == self._current.path):
            return
        changed = path.stat().st_mtime
        if self._refused.get(path) == changed:
            return
        number = number_of(path)
        self._states[number] = VersionState(LOADING)
        try:
            version = self._load(path)
        except ValueError as problem:
            self._refused[path] = changed
            self._states[number] = VersionState(END, str(problem))
            _log.error("version refused", extra={"version": number, "reason": str(problem)})
            return
        before, self._current = self._current, version
        if before:
            self._states[before.number] = VersionState(END)
        self._states[number] = VersionState(AVAILABLE)
        self._on_change(version)
        _log.info("version served", extra={"version": number})

    def _newest(self) -> Path | None:
        if (self._dir / "saved_model.pb").exists():
            return self._dir
        return newest_version(self._dir)

    def _follow(self) -> None:
        while not self._end.wait(self._poll_secs):
            try:
                self.look()
            except OSError as error:  # a folder that is gone for a moment
                _log.error("versions cannot be listed", extra={"reason": error.strerror})
