"""Copies a model to where it is served from, so that readers see all of it or nothing."""

import os
from collections.abc import Mapping

from tfx.dsl.io import fileio
from tfx.utils import io_utils

from serving.versions import next_version
from trainer.store.uris import is_remote


def push_atomically(model_dir: str, base_dir: str, assets: Mapping[str, str] | None = None) -> str:
    """Copies a SavedModel into the next version folder of `base_dir`.

    A reader sees the folder with every file in it or not at all: the copy is made under
    a name that no model server takes for a version, then renamed. An object store cannot
    rename a folder: there `saved_model.pb`, which servers wait for, comes last.

    Args:
      model_dir: the SavedModel.
      base_dir: holds the versions.
      assets: name -> text of further assets.

    Returns:
      The new version's folder.
    """
    version = next_version(base_dir)
    target = os.path.join(base_dir, str(version))
    if is_remote(base_dir):
        io_utils.copy_dir(model_dir, target, deny_regex_patterns=[r"saved_model\.pb"])
        _write_assets(target, assets or {})
        io_utils.copy_file(
            os.path.join(model_dir, "saved_model.pb"), os.path.join(target, "saved_model.pb")
        )
        return target
    partial = os.path.join(base_dir, f".partial-{version}")
    if fileio.exists(partial):
        fileio.rmtree(partial)
    io_utils.copy_dir(model_dir, partial)
    _write_assets(partial, assets or {})
    fileio.rename(partial, target)
    return target


def _write_assets(model_dir: str, assets: Mapping[str, str]) -> None:
    for name, text in assets.items():
        io_utils.write_string_file(os.path.join(model_dir, "assets", name), text)
