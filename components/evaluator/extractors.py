"""What TFMA extracts of each example. TFX imports this module by name and reloads it."""

from collections.abc import Iterator
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import predictions_extractor
from tensorflow_model_analysis.proto import config_pb2

from components.evaluator.rows import WriteRows, rows_dir


def custom_extractors(
    eval_shared_model: Any, eval_config: config_pb2.EvalConfig, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """TFMA's usual extractors, and one that writes a row for each image."""
    usual = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    directory = rows_dir()
    return list(_with_rows(usual, directory)) if directory else usual


def _with_rows(
    usual: list[tfma.extractors.Extractor], directory: str
) -> Iterator[tfma.extractors.Extractor]:
    for extractor in usual:
        yield extractor
        # Later extractors take the batches apart and multiply them by slice.
        if extractor.stage_name == predictions_extractor.PREDICTIONS_EXTRACTOR_STAGE_NAME:
            yield tfma.extractors.Extractor("WriteRows", WriteRows(directory))
