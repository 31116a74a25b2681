"""Runs the Evaluator, with what it leaves unsaid made errors."""

import os
from typing import Any

from absl import flags
from tfx import types
from tfx.components.evaluator import constants
from tfx.components.evaluator.executor import Executor as EvaluatorExecutor
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs

from components.evaluator.rows import ROWS_FOLDER, writing_rows_to
from trainer.errors import ThawError


class MissingBaseline(ThawError):
    """There is no baseline to compare with. TFMA would skip the comparison and bless."""


class Executor(EvaluatorExecutor):
    """TFX's Evaluator; needs a baseline, and writes a row for every test image."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates both models and blesses the candidate or not.

        Raises:
          MissingBaseline: if no baseline model came in.
        """
        if not input_dict.get(specs.BASELINE_MODEL_KEY):
            raise MissingBaseline(
                "the Evaluator has no baseline model: without one nothing can be gained, "
                "so nothing is blessed.",
                to_do="Run HeadTrainer first.",
            )
        _read_small_batches()
        uri = artifact_utils.get_single_uri(output_dict[specs.EVALUATION_KEY])
        with writing_rows_to(os.path.join(uri, ROWS_FOLDER)):
            super().Do(input_dict, output_dict, exec_properties)
        _forget_no_ids(artifact_utils.get_single_instance(output_dict[specs.BLESSING_KEY]))


def _read_small_batches() -> None:
    """Has tfx-bsl batch 20 MB of examples instead of 1,000 rows, which are 268 MB at 299 px."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    flags.FLAGS.tfxio_use_byte_size_batching = True


def _forget_no_ids(blessing: types.Artifact) -> None:
    """Drops the models' ids where they have none, as on Kubeflow: TFX's entry point there
    would look up the artifact of id 0, and fail.
    """
    properties = blessing.mlmd_artifact.custom_properties
    for key in (
        constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY,
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY,
    ):
        if key in properties and not blessing.get_int_custom_property(key):
            del properties[key]
