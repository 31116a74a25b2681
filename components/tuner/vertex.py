"""The search as a custom job of Vertex AI.

TFX has a Tuner of its own for that. It starts a server that hands trials to workers, for
searches whose trials do not depend on each other, and writes only its own file of them;
so the job is launched like a Trainer's, and runs the search as everywhere else.
"""

from tfx.dsl.components.base import executor_spec
from tfx.extensions.google_cloud_ai_platform.trainer.executor import GenericExecutor

from components.tuner.component import TwoStageTuner
from components.tuner.executor import Executor


class LaunchSearch(GenericExecutor):
    """What the node runs: starts the job and waits for it."""

    def _GetExecutorClass(self) -> type[Executor]:
        return Executor


class VertexTuner(TwoStageTuner):
    """The search; `custom_config["ai_platform_training_args"]` holds the job."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(LaunchSearch)
