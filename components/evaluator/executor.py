"""Runs the Evaluator, with what it leaves unsaid made errors."""

import os
from typing import Any

from absl import flags
from tfx import types
from tfx.components.evaluator.executor import Executor as EvaluatorExecutor
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs

from components.evaluator.rows import writing_rows_to
from trainer.data.predictions import FOLDER
from trainer.errors import ThawError


class MissingBaseline(ThawError):
    """There is no baseline to compare with. TFMA would evaluate the candidate alone."""


class Executor(EvaluatorExecutor):
    """TFX's Evaluator; needs a baseline, and writes a row for every test image."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates both models; the gate decides by what this leaves.

        Raises:
          MissingBaseline: if no baseline model came in.
        """
        if not input_dict.get(specs.BASELINE_MODEL_KEY):
            raise MissingBaseline(
                "the Evaluator has no baseline model: without one nothing can be gained, "
                "so nothing can be promoted.",
                to_do="Run HeadTrainer first.",
            )
        _read_small_batches()
        uri = artifact_utils.get_single_uri(output_dict[specs.EVALUATION_KEY])
        with writing_rows_to(os.path.join(uri, FOLDER)):
            super().Do(input_dict, output_dict, exec_properties)


def _read_small_batches() -> None:
    """Has tfx-bsl batch 20 MB of examples instead of 1,000 rows, which are 268 MB at 299 px."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    flags.FLAGS.tfxio_use_byte_size_batching = True
