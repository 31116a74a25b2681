"""Infers the schema from statistics, then adds what statistics do not see."""

import os
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME
from tfx.components.schema_gen.executor import Executor as SchemaGenExecutor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from trainer import features

# Too large, or different on every row: statistics leave them out.
_WITHOUT_STATISTICS = (features.IMAGE_BYTES, features.ID, features.PATH)


class Executor(SchemaGenExecutor):
    """SchemaGen, then `add_byte_features`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the completed schema in place of the inferred one."""
        super().Do(input_dict, output_dict, exec_properties)
        uri = artifact_utils.get_single_uri(output_dict[standard_component_specs.SCHEMA_KEY])
        path = os.path.join(uri, DEFAULT_FILE_NAME)
        schema = io_utils.SchemaReader().read(path)
        add_byte_features(schema)
        io_utils.write_pbtxt_file(path, schema)


def add_byte_features(schema: schema_pb2.Schema) -> None:
    """Adds the features that statistics leave out, one byte string a row each.

    They carry no presence rule: the validator, which sees statistics only, would find
    them missing. The tensor representation makes Transform read them densely all the same.
    """
    representations = schema.tensor_representation_group[""].tensor_representation
    for feature in schema.feature:
        representations[feature.name].dense_tensor.column_name = feature.name
    for name in _WITHOUT_STATISTICS:
        schema.feature.add(name=name, type=schema_pb2.BYTES)
        representations[name].dense_tensor.column_name = name
    for representation in representations.values():
        representation.dense_tensor.shape.SetInParent()
