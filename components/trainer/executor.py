"""Trains in this process or, where `launchers.execution` says so, by a worker group."""

from typing import Any

from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs
from tfx.utils import path_utils

from launchers.execution import read_settings, run_by_workers
from launchers.request import Artifacts
from trainer.errors import ThawError


class Executor(GenericExecutor):
    """TFX's Trainer, by one worker here or by several that train together."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Trains; only the chief's export is the model.

        Raises:
          WorkerGroupFailed: if the workers could not finish.
          ThawError: if they left no model.
        """
        settings = read_settings(exec_properties)
        if settings is None:
            super().Do(input_dict, output_dict, exec_properties)
            return
        folder = artifact_utils.get_single_uri(output_dict[specs.MODEL_RUN_KEY])
        run_by_workers(GenericExecutor, input_dict, output_dict, exec_properties, settings, folder)
        _check_model(artifact_utils.get_single_uri(output_dict[specs.MODEL_KEY]))


def _check_model(uri: str) -> None:
    """Raises `ThawError` if the chief has exported nothing."""
    folder = path_utils.serving_model_dir(uri)
    if not fileio.exists(folder):
        raise ThawError(
            "is missing, although all workers have ended well.",
            where=folder,
            to_do="Let every worker reach the same folder of the pipeline's artifacts.",
        )
