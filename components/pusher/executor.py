"""Copies a blessed model to where it is served from."""

import os
from typing import Any

from tfx import types
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils, proto_utils

from serving.push import push_atomically
from trainer.blessings import BASELINE_AGREES, PUSH_BASELINE

BASELINE_MODEL = "baseline_model"


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
        if self.CheckBlessing(input_dict):
            model_path = self.GetModelPath(input_dict)
        elif _pushes_baseline(input_dict):
            baseline = artifact_utils.get_single_uri(input_dict[BASELINE_MODEL])
            model_path = path_utils.serving_model_path(baseline)
        else:
            self._MarkNotPushed(pushed)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
        )
        base_dir = destination.filesystem.base_directory
        path = push_atomically(model_path, base_dir)
        self._MarkPushed(pushed, pushed_destination=path, pushed_version=os.path.basename(path))


def _pushes_baseline(input_dict: dict[str, list[types.Artifact]]) -> bool:
    """Whether Gate asks for it, and ServingCheck has nothing against it."""
    if not input_dict.get(BASELINE_MODEL):
        return False
    asked, agrees = (
        artifact_utils.get_single_instance(input_dict[key]).get_int_custom_property(name)
        for key, name in (
            (standard_component_specs.MODEL_BLESSING_KEY, PUSH_BASELINE),
            (standard_component_specs.INFRA_BLESSING_KEY, BASELINE_AGREES),
        )
    )
    return asked == 1 and agrees == 1
