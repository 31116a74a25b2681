"""The component's interface."""

from tensorflow_model_analysis.proto import config_pb2
from tfx.components import Evaluator
from tfx.dsl.components.base import executor_spec
from tfx.types import BaseChannel

from components.evaluator import executor, extractors
from trainer import keys


class GatedEvaluator(Evaluator):
    """TFX's Evaluator on the test split; it refuses to judge without a baseline."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: BaseChannel,
        model: BaseChannel,
        baseline_model: BaseChannel,
        eval_config: config_pb2.EvalConfig,
    ) -> None:
        """Args:
        examples: transformed examples with a `test` split.
        model: the candidate.
        baseline_model: what the candidate is compared with.
        eval_config: from `components.evaluator.gate.make_eval_config`.
        """
        super().__init__(
            examples=examples,
            model=model,
            baseline_model=baseline_model,
            eval_config=eval_config,
            example_splits=[keys.TEST],
            module_path=extractors.__name__,
        )
