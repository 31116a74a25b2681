"""Puts a folder in place so that readers see all of it or nothing."""

import os

from tfx.dsl.io import fileio
from tfx.utils import io_utils

from components.exporter.record import RESULT_FILE
from trainer.store.uris import is_remote


def publish(folder: str, target: str) -> None:
    """Copies a local folder; one that is there already is replaced.

    An object store cannot rename a folder: there the record of the exports comes last.

    Args:
      folder: holds files only.
      target: local or remote.
    """
    if is_remote(target):
        _remove(target)
        io_utils.copy_dir(folder, target, deny_regex_patterns=[RESULT_FILE])
        io_utils.copy_file(os.path.join(folder, RESULT_FILE), os.path.join(target, RESULT_FILE))
        return
    parent, name = os.path.split(target)
    partial, removed = (os.path.join(parent, f".{kind}-{name}") for kind in ("partial", "removed"))
    for left_over in (partial, removed):
        _remove(left_over)
    io_utils.copy_dir(folder, partial)
    if fileio.exists(target):
        fileio.rename(target, removed)
    fileio.rename(partial, target)
    _remove(removed)


def _remove(folder: str) -> None:
    if fileio.exists(folder):
        fileio.rmtree(folder)
