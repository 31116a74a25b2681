"""Statistics, schema and validation of labels alone, through the real executors."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.example_validator import executor as example_validator
from components.schema_gen import executor as schema_gen
from trainer import keys, records
from trainer.data.rules import DriftRule


def write_statistics(
    folder: Path, labels: dict[str, Iterable[str]], size_px: int = 8
) -> standard_artifacts.ExampleStatistics:
    """What StatisticsGen leaves of examples with these labels: split name -> labels."""
    artifact = standard_artifacts.ExampleStatistics()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names(list(labels))
    for split, of_split in labels.items():
        found = pd.DataFrame({keys.LABEL: list(of_split)})
        found[keys.HEIGHT] = found[keys.WIDTH] = size_px
        statistics = tfdv.generate_statistics_from_dataframe(found)
        (folder / f"Split-{split}").mkdir(parents=True)
        path = folder / f"Split-{split}" / "FeatureStats.pb"
        path.write_bytes(statistics.SerializeToString())
    return artifact


def infer_schema(
    statistics: standard_artifacts.ExampleStatistics, folder: Path
) -> tuple[standard_artifacts.Schema, schema_pb2.Schema]:
    """Runs ImageSchemaGen's executor; the artifact, and what it holds."""
    artifact = standard_artifacts.Schema()
    artifact.uri = str(folder)
    schema_gen.Executor().Do(
        {"statistics": [statistics]}, {"schema": [artifact]}, {"exclude_splits": '["val", "test"]'}
    )
    return artifact, io_utils.SchemaReader().read(str(folder / "schema.pbtxt"))


def validate(
    statistics: standard_artifacts.ExampleStatistics,
    schema: standard_artifacts.Schema,
    folder: Path,
    drift: DriftRule | None = None,
) -> None:
    """Runs StrictExampleValidator's executor."""
    anomalies = standard_artifacts.ExampleAnomalies()
    anomalies.uri = str(folder)
    example_validator.Executor().Do(
        {"statistics": [statistics], "schema": [schema]},
        {"anomalies": [anomalies]},
        {"drift": records.dumps(drift)} if drift else {},
    )
