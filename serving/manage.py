"""Lists the versions of a pushed model, puts an older one back, and removes old ones."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from serving.push import push_atomically
from serving.version_record import VERSION_FILE, VersionRecord, read_version, to_text
from serving.versions import UnusableModel, model_folders, versions_in


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes:
      number: of its folder.
      path: the folder.
      record: what is known of it; None: an earlier version of Thaw pushed it.
      is_served: whether it is the newest, which model servers serve.
    """

    number: int
    path: Path
    record: VersionRecord | None
    is_served: bool

    @property
    def num_bytes(self) -> int:
        """Of its files, looked up."""
        return sum(one.stat().st_size for one in self.path.rglob("*") if one.is_file())


def model_dir_of(path: Path, name: str = "") -> Path:
    """The folder of one model's versions.

    Args:
      path: output folder of a run, or that folder itself.
      name: of the model, where a run's folder holds several.

    Raises:
      UnusableModel: if there is none, or several without a name.
    """
    if versions_in(path):
        return path
    models = [
        one for one in sorted(model_folders(path)) if versions_in(one) and name in ("", one.name)
    ]
    if len(models) == 1:
        return models[0]
    if not models:
        raise UnusableModel(
            "holds no pushed model.",
            where=str(path),
            to_do="Give the output folder of a run that has pushed one.",
        )
    raise UnusableModel(
        f"holds several models: {', '.join(one.name for one in models)}.",
        where=str(path),
        to_do=f"Name the folder of one of them, such as {models[0]}.",
    )


def list_versions(model_dir: Path) -> list[Version]:
    """All versions, the newest first."""
    folders = sorted(versions_in(model_dir), key=lambda folder: -int(folder.name))
    return [
        Version(
            number=int(folder.name),
            path=folder,
            record=read_version(folder),
            is_served=place == 0,
        )
        for place, folder in enumerate(folders)
    ]


def roll_back(model_dir: Path, number: int | None = None) -> Version:
    """Puts an older version back into service, as a copy with the next number.

    Model servers serve the highest number, so they need no other notice; and nothing is lost: the
    version that is served now stays.

    Args:
      model_dir: folder of the versions.
      number: of the version to serve again; None: the one before the newest.

    Returns:
      The new version.

    Raises:
      UnusableModel: if there is no such version, or it is served already.
    """
    versions = list_versions(model_dir)
    older = _find(versions, number, model_dir)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    assets = {}
    if older.record:
        assets[VERSION_FILE] = to_text(replace(older.record, rolled_back=now))
    path = Path(push_atomically(str(older.path), str(model_dir), assets))
    return next(one for one in list_versions(model_dir) if one.path == path)


def _find(versions: Sequence[Version], number: int | None, model_dir: Path) -> Version:
    if number is None:
        if len(versions) < 2:
            raise UnusableModel(
                "holds one version only: there is none to go back to.", where=str(model_dir)
            )
        return versions[1]
    matches = [one for one in versions if one.number == number]
    if not matches:
        have = ", ".join(str(one.number) for one in versions)
        raise UnusableModel(f"has no version {number}; it has {have}.", where=str(model_dir))
    if matches[0].is_served:
        raise UnusableModel(f"version {number} is the one that is served.", where=str(model_dir))
    return matches[0]


def prune(model_dir: Path, keep: int) -> list[Version]:
    """Removes all but the newest versions; the one that is served always stays.

    Args:
      model_dir: folder of the versions.
      keep: how many stay, at least 1.

    Returns:
      The versions that were removed.
    """
    removed = list_versions(model_dir)[max(1, keep) :]
    for version in removed:
        # A reader sees it whole or not at all.
        gone = version.path.with_name(f".removed-{version.number}")
        version.path.rename(gone)
        shutil.rmtree(gone)
    return removed
