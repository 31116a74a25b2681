"""The versions of a pushed model: numbered folders, the highest is the newest."""

import os
from pathlib import Path

from trainer.errors import ThawError
from trainer.store.uris import is_remote

_SAVED_MODEL = "saved_model.pb"
_SERVED = "serving"


class UnusableModel(ThawError):
    """There is no model, or it cannot be asked; the message says what to do."""


def find_model(path: str) -> Path:
    """Returns the SavedModel in or below a path: the path itself, the newest version of a
    served model's folder, or the newest push of a run's output folder.

    Raises:
      UnusableModel: if there is none.
    """
    if is_remote(path) and not os.path.lexists(path):
        raise UnusableModel(
            "not a folder of this machine. Copy the model here, and give its folder.", where=path
        )
    try:
        return _find_newest(Path(path))
    except OSError as error:
        raise UnusableModel(
            f"cannot be read: {error.strerror}.", where=str(error.filename or path)
        ) from error


def _find_newest(path: Path) -> Path:
    if not path.exists():
        raise UnusableModel("there is no such folder.", where=str(path))
    if not path.is_dir():
        raise UnusableModel(f"{path} is a file. Give a run's output folder or a SavedModel's.")
    if (path / _SAVED_MODEL).exists():
        return path
    folders = [path, *model_folders(path)]
    versions = [version for folder in folders for version in versions_in(folder)]
    if not versions:
        raise UnusableModel(
            "holds no pushed model. Give a run's output folder or a SavedModel.",
            where=str(path),
            to_do="A run whose candidate is not blessed pushes nothing; its report says why.",
        )
    return max(versions, key=lambda version: (int(version.name), version.stat().st_mtime))


def number_of(version: Path) -> int:
    """The number of a version's folder; 1 for a SavedModel that stands by itself."""
    return int(version.name) if version.name.isdecimal() else 1


def newest_version(folder: Path) -> Path | None:
    """Returns the newest version in a folder of one model's versions; None if there is none."""
    versions = versions_in(folder)
    return max(versions, key=lambda version: int(version.name), default=None)


def model_folders(output_dir: Path) -> list[Path]:
    """The folders, one a model, that runs of an output folder push to; in no order."""
    served = output_dir / _SERVED
    return list(served.iterdir()) if served.is_dir() else []


def output_of(version: Path) -> Path | None:
    """The output folder of the runs that push to where a version lies; None if it lies elsewhere.

    Args:
      version: its folder, as an absolute path.
    """
    lies_in_output = len(version.parents) > 2 and version.parents[1].name == _SERVED
    return version.parents[2] if lies_in_output else None


def versions_in(folder: Path) -> list[Path]:
    """Folders of the versions in a folder of one model, in no order."""
    if not folder.is_dir():
        return []
    return [
        version
        for version in folder.iterdir()
        if version.name.isdecimal() and (version / _SAVED_MODEL).exists()
    ]


def newest_remote_version(base_dir: str) -> str | None:
    """As `newest_version`, on any file system that TFX reads; returns the version's address."""
    from tfx.dsl.io import fileio

    complete = [
        version
        for version in _numbers(base_dir)
        if fileio.exists(os.path.join(base_dir, str(version), _SAVED_MODEL))
    ]
    return os.path.join(base_dir, str(max(complete))) if complete else None


def next_version(base_dir: str) -> int:
    """One more than the highest version folder of `base_dir`; 1 where there is none.

    Args:
      base_dir: holds the versions of one model; on any file system that TFX reads.
    """
    return max(_numbers(base_dir), default=0) + 1


def _numbers(base_dir: str) -> list[int]:
    from tfx.dsl.io import fileio

    names = fileio.listdir(base_dir) if fileio.isdir(base_dir) else []
    return [int(name) for name in (name.rstrip("/") for name in names) if name.isdecimal()]
