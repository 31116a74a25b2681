"""Keeps the newest version of a model loaded, as TensorFlow Serving does, and those with a label.

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
from serving.versions import UnusableModel, find_model, newest_version, number_of, versions_in

_log = logging.getLogger("thaw.serve")

AVAILABLE, LOADING, END = "AVAILABLE", "LOADING", "END"

# The labels that TensorFlow Serving's own examples give to the version that is served.
_NEWEST = ("stable", "latest")


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
        labels: Mapping[str, int] | None = None,
    ) -> None:
        """Args:
        model_dir: folder of numbered versions, or one SavedModel.
        poll_secs: how often it is looked at.
        on_change: called with each version that goes live.
        load: loads and warms up one version.
        labels: name -> number of a version that is served beside the newest.
        """
        self._dir = model_dir
        self._poll_secs = poll_secs
        self._on_change = on_change
        self._load = load
        self._labels = dict(labels or {})
        self._labelled: dict[int, LoadedVersion] = {}
        self._current: LoadedVersion | None = None
        self._states: dict[int, VersionState] = {}
        self._refused: dict[Path, float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="versions")

    def start(self) -> None:
        """Loads the newest version and those with labels, and watches for newer ones from then on.

        Raises:
          UnusableModel: if there is no model, or a version with a label cannot be served.
        """
        find_model(str(self._dir))
        self.look()
        for label, path in labelled_paths(self._dir, self._labels).items():
            self._load_labelled(label, self._labels[label], path)
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

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that requests may name."""
        return tuple(sorted({*_NEWEST, *self._labels}))

    @property
    def served(self) -> Mapping[int, LoadedVersion]:
        """The versions that can be asked, by number."""
        current = self._current
        return {**self._labelled, **({current.number: current} if current else {})}

    def current(self, version: str = "", label: str = "") -> LoadedVersion:
        """The version that answers a request.

        Args:
          version: number that the client asks for; empty: the newest.
          label: in place of a number.

        Raises:
          RequestRefused: if it is not loaded.
        """
        if label:
            version = self.number_of_label(label)
        current = self._current
        if current is None:
            raise RequestRefused(503, "No version of the model is ready yet.", retry_after=1)
        found = self.served.get(int(version)) if version.isdecimal() else None
        if version and (found is None or str(found.number) != version):
            raise RequestRefused(
                404, f"Servable not found for request: version {version} is not served."
            )
        return found or current

    def number_of_label(self, label: str) -> str:
        """The number of a label's version; empty for the newest.

        Raises:
          RequestRefused: if there is no such label.
        """
        if label in self._labels:
            return str(self._labels[label])
        if label not in _NEWEST:
            raise RequestRefused(
                404,
                f"Unrecognized servable version label: {label}; there are "
                f"{', '.join(self.labels)}.",
            )
        return ""

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
        if before and before.number not in self._labelled:
            self._states[before.number] = VersionState(END)
        self._states[number] = VersionState(AVAILABLE)
        self._on_change(version)
        _log.info("version served", extra={"version": number})

    def _load_labelled(self, label: str, number: int, path: Path) -> None:
        """Loads a version for good. A newer one does not replace it."""
        version = self.served.get(number)
        try:
            version = version or self._load(path)
        except ValueError as problem:
            raise _cannot_label(self._dir, label, number, str(problem)) from problem
        self._labelled[number] = version
        self._states[number] = VersionState(AVAILABLE)
        _log.info("version served", extra={"version": number, "label": label})

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


def labelled_paths(model_dir: Path, labels: Mapping[str, int]) -> dict[str, Path]:
    """The folders of the versions with labels, by label.

    Raises:
      UnusableModel: if there is none of a number.
    """
    there = {number_of(path): path for path in versions_in(model_dir)}
    if (model_dir / "saved_model.pb").exists():
        there = {number_of(model_dir): model_dir}
    for label, number in labels.items():
        if number not in there:
            raise _cannot_label(model_dir, label, number, "there is no such version.")
    return {label: there[number] for label, number in labels.items()}


def _cannot_label(model_dir: Path, label: str, number: int, reason: str) -> UnusableModel:
    """In the words of TensorFlow Serving's `ServerCore::UpdateModelVersionLabelMap`."""
    return UnusableModel(
        f"Request to assign label {label} to version {number} of model {model_dir.name}, which is "
        f"not currently available for inference: {reason}",
        to_do="Name a version that is there: --label NAME=VERSION.",
    )
