"""Infers the schema from statistics, then adds what statistics do not see."""

import os
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME
from tfx.components.schema_gen.executor import Executor as SchemaGenExecutor
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from trainer import keys

# Too large, different on every row, or of no interest: statistics leave them out.
_WITHOUT_STATISTICS = (keys.IMAGE_BYTES, keys.ID, keys.PATH, keys.GROUP)


class Executor(SchemaGenExecutor):
    """SchemaGen, then `set_classes` and `add_other_features`."""

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
        statistics = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.STATISTICS_KEY]
        )
        set_classes(schema, stats_artifact_utils.load_statistics(statistics, keys.TRAIN))
        add_other_features(schema)
        io_utils.write_pbtxt_file(path, schema)


def set_classes(schema: schema_pb2.Schema, training: tfdv.DatasetListView) -> None:
    """Makes the classes of the training split the only labels that are no anomaly.

    Inference alone allows any label where class names look like numbers (it finds an
    integer) and from 101 classes on. Statistics name 1,000 classes at most; where they
    name fewer than there are, the schema is left as it was inferred.

    Args:
      schema: inferred; names the label.
      training: statistics of the training split.
    """
    label = training.get_default_slice_or_die().get_feature(tfdv.FeaturePath([keys.LABEL]))
    statistics = label.string_statistics()
    classes = sorted(bucket.label for bucket in statistics.rank_histogram.buckets)
    if len(classes) < statistics.unique:
        return
    del schema.string_domain[:]
    schema.string_domain.add(name=keys.LABEL, value=classes)
    (feature,) = [feature for feature in schema.feature if feature.name == keys.LABEL]
    feature.domain = keys.LABEL  # takes the place of an inferred `int_domain`


def add_other_features(schema: schema_pb2.Schema) -> None:
    """Adds the features that statistics leave out: a byte string or a weight a row.

    They carry no presence rule: the validator, which sees statistics only, would find
    them missing. The tensor representation makes Transform read them densely all the same.
    """
    representations = schema.tensor_representation_group[""].tensor_representation
    for feature in schema.feature:
        representations[feature.name].dense_tensor.column_name = feature.name
    for name in _WITHOUT_STATISTICS:
        schema.feature.add(name=name, type=schema_pb2.BYTES)
        representations[name].dense_tensor.column_name = name
    schema.feature.add(name=keys.WEIGHT, type=schema_pb2.FLOAT)
    representations[keys.WEIGHT].dense_tensor.column_name = keys.WEIGHT
    for representation in representations.values():
        representation.dense_tensor.shape.SetInParent()
