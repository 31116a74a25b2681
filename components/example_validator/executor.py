"""Validates statistics against the schema and stops at the first unfit data set."""

import os
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.components.example_validator.executor import Executor as ExampleValidatorExecutor
from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME as SCHEMA_FILE
from tfx.proto.orchestration import execution_result_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from components.example_validator.drift import find_drift, write_drift
from trainer import records
from trainer.data.rules import DriftRule
from trainer.errors import ThawError

DRIFT = "drift"


class DataAnomalies(ThawError):
    """The data do not fit the schema; the message holds every anomaly's text."""


class Executor(ExampleValidatorExecutor):
    """ExampleValidator, then `raise_anomalies`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> execution_result_pb2.ExecutorOutput:
        """Writes the anomalies of every split, then raises if there are any."""
        output = super().Do(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.ANOMALIES_KEY]
        )
        raise_anomalies(
            {
                split: _read(artifact_utils.get_split_uri([artifact], split))
                for split in artifact_utils.decode_split_names(artifact.split_names)
            }
        )
        _compare(input_dict, artifact.uri, exec_properties.get(DRIFT))
        return output


def _compare(input_dict: dict[str, list[types.Artifact]], uri: str, text: str | None) -> None:
    """Writes how the training images have changed since the run before.

    Raises:
      DataAnomalies: if they have changed more than they may, and that is fatal.
    """
    rule = records.read(DriftRule, text, DRIFT) if text else DriftRule()
    statistics = artifact_utils.get_single_uri(input_dict[standard_component_specs.STATISTICS_KEY])
    schema_uri = artifact_utils.get_single_uri(input_dict[standard_component_specs.SCHEMA_KEY])
    schema = io_utils.SchemaReader().read(os.path.join(schema_uri, SCHEMA_FILE))
    drift = find_drift(statistics, schema, rule)
    write_drift(drift, uri)
    if drift.changes and rule.fatal:
        raise DataAnomalies(
            "the training images have changed since the run before: " + " | ".join(drift.changes),
            to_do="Look at the images. If the change is meant, set data.drift.fatal=false.",
        )
    for change in drift.changes:
        print(f"changed since the run before: {change}")


def _read(split_uri: str) -> anomalies_pb2.Anomalies:
    content = io_utils.read_bytes_file(f"{split_uri}/{DEFAULT_FILE_NAME}")
    return anomalies_pb2.Anomalies.FromString(content)


def raise_anomalies(found: dict[str, anomalies_pb2.Anomalies]) -> None:
    """Raises if any split has an anomaly.

    Args:
      found: split name -> what TFDV found there.

    Raises:
      DataAnomalies: with split, feature and TFDV's description of each.
    """
    lines = [
        f"{split}: {name}: {info.description or info.short_description}"
        for split, anomalies in found.items()
        for name, info in sorted(anomalies.anomaly_info.items())
    ]
    lines += [
        f"{split}: {anomalies.dataset_anomaly_info.description}"
        for split, anomalies in found.items()
        if anomalies.HasField("dataset_anomaly_info")
    ]
    if lines:
        raise DataAnomalies("the data do not fit the schema: " + " | ".join(lines))
