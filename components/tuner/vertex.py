"""The search as a custom job of Vertex AI.

TFX has a Tuner of its own for that. It starts a server that hands trials to workers, for
searches whose trials do not depend on each other, and writes only its own file of them;
so the job is launched like a Trainer's, and runs the search as everywhere else.
"""

import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.extensions.google_cloud_ai_platform.trainer.executor import GenericExecutor
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs

from components.tuner.component import TwoStageTuner
from components.tuner.executor import Executor


class SearchOnVertex(Executor):
    """What the job runs. It is given no folder for what it needs while it runs."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Searches, with its temporary folder beside its results."""
        results = artifact_utils.get_single_uri(output_dict[specs.TUNER_RESULTS_KEY])
        self._folder = os.path.join(os.path.dirname(results.rstrip("/")), ".temp")
        super().Do(input_dict, output_dict, exec_properties)

    def _get_tmp_dir(self) -> str:
        return self._folder


class LaunchSearch(GenericExecutor):
    """What the node runs: starts the job and waits for it."""

    def _GetExecutorClass(self) -> type[Executor]:
        return SearchOnVertex


class VertexTuner(TwoStageTuner):
    """The search; `custom_config["ai_platform_training_args"]` holds the job."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(LaunchSearch)
