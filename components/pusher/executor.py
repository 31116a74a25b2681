"""Copies a blessed model to where it is served from."""

import os
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, proto_utils

from serving.versions import next_version
from trainer.store.uris import is_remote


class Executor(PusherExecutor):
    """Pushes like TFX's, with two differences: the copy is made under another name and
    renamed, and versions count up by one instead of by the clock, which may go back.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes if every blessing says so; records what was done in `pushed_model`."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
        )
        base_dir = destination.filesystem.base_directory
        path = push_atomically(self.GetModelPath(input_dict), base_dir)
        self._MarkPushed(pushed, pushed_destination=path, pushed_version=os.path.basename(path))


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
