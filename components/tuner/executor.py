"""Runs the search and writes what it found."""

from typing import Any

from tfx import types
from tfx.components.tuner import executor as tfx_tuner
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs

from launchers.execution import read_settings, run_by_workers
from trainer.artifact_dirs import node_dir
from trainer.tuning.trials import write_trials


class Executor(tfx_tuner.Executor):
    """TFX's Tuner, which calls `trainer.tfx_run.tuner_fn`, and a file of all trials."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Searches; writes the best hyper-parameters and both files of results.

        The search works in the folder of the outputs, not in TFX's temporary one.
        """
        uri = artifact_utils.get_single_uri(output_dict[specs.TUNER_RESULTS_KEY])
        search = tfx_tuner.search(input_dict, exec_properties, node_dir(uri))
        tfx_tuner.write_best_hyperparameters(search, output_dict)
        write_trials(search.results(), uri)


class LaunchedExecutor(Executor):
    """The search, here or as a job of its own on a cluster; by one worker always.

    Each trial depends on those before it, and one of a head takes a second.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Searches.

        Raises:
          WorkerGroupFailed: if the worker could not finish.
        """
        settings = read_settings(exec_properties)
        if settings is None:
            super().Do(input_dict, output_dict, exec_properties)
            return
        folder = artifact_utils.get_single_uri(output_dict[specs.TUNER_RESULTS_KEY])
        run_by_workers(Executor, input_dict, output_dict, exec_properties, settings, folder)
