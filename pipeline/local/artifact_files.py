"""Knows whether what nodes wrote in earlier runs is still there, and whole.

Beside each artifact that a node publishes stands a manifest of its files. Before a run uses
any artifact again, its files are compared with the manifest, and an artifact that is damaged,
or whose pushed model is gone, is taken out of TFX's cache: its node then runs again.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx import types

from serving.version_record import CARD_FILE, VERSION_FILE
from trainer.errors import ThawError

_LIVE = metadata_store_pb2.Artifact.State.LIVE
_DELETED = metadata_store_pb2.Artifact.State.DELETED
_PUSHED_TO = "pushed_destination"

# Relative path -> size in bytes and time of modification in nanoseconds.
_Files = dict[str, list[int]]


class UnusableStore(ThawError):
    """The metadata store does not fit the artifacts. The message says what to do."""


class NotEmpty(ThawError):
    """A node would have written into a folder that holds other files."""


class DamagedInput(ThawError):
    """What a node failed on has changed since it was written. The message names the file."""


@dataclass(frozen=True)
class Damage:
    """An artifact that cannot be used again.

    Attributes:
      node: which made it and has to run again.
      problem: the file, and what is wrong with it.
    """

    node: str
    problem: str

    def __str__(self) -> str:
        return f"{self.problem}: this result of {self.node} is not reused."


def require_empty(outputs: Mapping[str, Sequence[types.Artifact]]) -> None:
    """Checks that the folders of a node's outputs hold nothing yet.

    Raises:
      NotEmpty: naming the first that does.
    """
    for uri in (artifact.uri for group in outputs.values() for artifact in group):
        if os.path.isdir(uri) and os.listdir(uri):
            raise NotEmpty(
                f"{uri} is not empty: it holds files of another run.",
                to_do="Move that folder away, or give another --output.",
            )


def write_manifests(artifacts: Iterable[metadata_store_pb2.Artifact]) -> None:
    """Writes down the files of a node's outputs, and of the model that it has pushed."""
    for artifact in artifacts:
        folders = [artifact.uri]
        # Asking a map of messages for a key that is not there puts it there.
        if _PUSHED_TO in artifact.custom_properties:
            folders.append(artifact.custom_properties[_PUSHED_TO].string_value)
        path = _manifest_path(artifact.uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        files = {folder: _files_in(folder) for folder in folders}
        path.write_text(json.dumps(files, indent=1, sort_keys=True), encoding="utf-8")


def find_problem(uri: str) -> str | None:
    """Compares an artifact's files, and those of the model it pushed, with its manifest.

    Returns:
      The first file that is missing, changed or unknown, and what is wrong with it; None if
      all are as they were written.
    """
    try:
        manifest = json.loads(_manifest_path(uri).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{uri} has no list of its files"
    problems = (_compare(folder, expected) for folder, expected in manifest.items())
    return next(filter(None, problems), None)


def blame_damaged(inputs: Mapping[str, Sequence[types.Artifact]], error: BaseException) -> None:
    """Finds out whether a node failed because what it read has been damaged meanwhile.

    Raises:
      DamagedInput: naming the file, if one of the inputs is not as it was written.
    """
    for uri in (artifact.uri for group in inputs.values() for artifact in group):
        if problem := find_problem(uri):
            raise DamagedInput(
                f"{problem} since an earlier node wrote it.",
                to_do="Run the same command again: what is damaged is made again.",
            ) from error


def retire_damaged(store: mlmd.MetadataStore, artifacts_dir: Path) -> list[Damage]:
    """Takes every artifact that cannot be used again out of TFX's cache.

    Args:
      store: opened; the artifacts' state is changed in it.
      artifacts_dir: folder of all artifacts that belong to this store.

    Returns:
      What was found, in the order in which it was made.
    """
    found = []
    for artifact in sorted(store.get_artifacts(), key=lambda artifact: artifact.id):
        if artifact.state != _LIVE:
            continue
        if Path(artifact.uri).is_relative_to(artifacts_dir):
            problem = find_problem(artifact.uri)
        else:
            problem = f"{artifact.uri} is not in {artifacts_dir}"
        if problem:
            artifact.state = _DELETED
            store.put_artifacts([artifact])
            found.append(Damage(_node_of(artifact.uri), problem))
    return found


def require_readable(metadata_path: Path) -> None:
    """Checks that the store's file, if there is one, is a database without damage.

    Raises:
      UnusableStore: if it is not; ML Metadata would say so in SQL.
    """
    if not metadata_path.exists():
        return
    try:
        # Not read-only: after a crash SQLite first has to roll back what was half written.
        with closing(sqlite3.connect(metadata_path)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        raise UnusableStore(
            f"{metadata_path} is damaged ({said}).",
            to_do=f"Put a copy of it back; or delete it and {metadata_path.with_name('artifacts')} "
            "to begin again.\nModels already pushed are unaffected.",
        )


def require_same_history(store: mlmd.MetadataStore, artifacts_dir: Path) -> None:
    """Checks that the store knows of all executions that have written artifacts.

    TFX numbers executions and names folders by that number: a store that begins again would
    write into the folders of the earlier one.

    Raises:
      UnusableStore: if there are artifacts that the store has never heard of.
    """
    known = max((execution.id for execution in store.get_executions()), default=0)
    unknown = [folder for number, folder in _numbered(artifacts_dir) if number > known]
    if unknown:
        metadata = artifacts_dir.parent / "metadata.sqlite"
        raise UnusableStore(
            f"{metadata} does not know the artifacts beside it, such as {unknown[0]}:\n"
            "  it was deleted, or replaced by an older one.",
            to_do="Put the right one back; or delete\n"
            f"{artifacts_dir} and {metadata.name} to begin again; or give another --output.\n"
            "Models already pushed are unaffected.",
        )


def _numbered(artifacts_dir: Path) -> Iterator[tuple[int, Path]]:
    """Folders `<node>/<output>/<execution>` with something in them."""
    for folder in sorted(_children(artifacts_dir, depth=3)):
        if folder.name.isdecimal() and folder.is_dir() and any(folder.iterdir()):
            yield int(folder.name), folder


def _children(folder: Path, depth: int) -> Iterator[Path]:
    if depth == 0:
        yield folder
    elif folder.is_dir():
        for child in folder.iterdir():
            if not child.name.startswith("."):
                yield from _children(child, depth - 1)


def _node_of(uri: str) -> str:
    """`<node>/<output>/<execution>` to the node's name."""
    return Path(uri).parent.parent.name


def _manifest_path(uri: str) -> Path:
    """`<node>/<output>/<execution>` to `<node>/.system/manifests/<output>/<execution>.json`."""
    artifact = Path(uri)
    manifests = artifact.parent.parent / ".system" / "manifests"
    return manifests / artifact.parent.name / f"{artifact.name}.json"


def _files_in(folder: str) -> _Files:
    found: _Files = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            state = os.lstat(path)
            found[os.path.relpath(path, folder)] = [state.st_size, state.st_mtime_ns]
    return found


def _compare(folder: str, expected: _Files) -> str | None:
    if not os.path.isdir(folder):
        return f"{folder} is missing"
    found = _files_in(folder)
    for name in sorted(expected.keys() | found.keys()):
        path = os.path.join(folder, name)
        if name not in found:
            return f"{path} is missing"
        if name not in expected and not _may_be_added(name):
            return f"{path} was added"
        if name in expected and found[name] != expected[name]:
            return f"{path} has changed"
    return None


def _may_be_added(name: str) -> bool:
    """Whether a file may come later: hidden ones of file managers, the report's card and record,
    and what Python compiles of the code beside exports.
    """
    base = os.path.basename(name)
    return base.startswith(".") or base in (CARD_FILE, VERSION_FILE) or base.endswith(".pyc")
