"""The component's interface."""

from tfx.components import Evaluator
from tfx.dsl.components.base import executor_spec
from tfx.types import BaseChannel

from components.evaluator import executor, extractors
from components.evaluator.metrics import make_eval_config
from trainer import keys


class PairedEvaluator(Evaluator):
    """TFX's Evaluator of a candidate and its baseline on the test split.

    It writes both models' predictions beside the metrics. Its own `blessing` stays empty.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: BaseChannel,
        model: BaseChannel,
        baseline_model: BaseChannel,
        top_k: int,
    ) -> None:
        """Args:
        examples: transformed examples with a `test` split.
        model: the candidate.
        baseline_model: what the candidate is compared with.
        top_k: the k of the top-k accuracy.
        """
        super().__init__(
            examples=examples,
            model=model,
            baseline_model=baseline_model,
            eval_config=make_eval_config(top_k),
            example_splits=[keys.TEST],
            module_path=extractors.__name__,
        )
