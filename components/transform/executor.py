"""Runs Transform with batches that fit in memory."""

from typing import Any

import apache_beam as beam
from tfx import types
from tfx.components.transform import executor as tfx_transform
from tfx.components.util import examples_utils
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils

from trainer import keys
from trainer.data.card import read_card, write_card
from trainer.data.labels import printable
from trainer.errors import ThawError
from trainer.preprocessing import LABELS, UNKNOWN_LABEL_ID
from trainer.process.replaced import replaced

# Left to itself Beam grows batches to 1,000 rows: decoded at 299 px that is 268 MB, held
# several times over. 32 rows take 9 MB and decode as fast.
BATCH_ROWS = 32


class UnknownLabel(ThawError):
    """An image has a label that was not ingested. The message says what to do."""


class Processor(tfx_transform.TransformProcessor):
    """TFX's processor with a fixed batch size, writing checked TFRecords that are not gzipped.

    Gzip took 8 ms for an image of 299 px, more than three times as long as decoding and
    resizing a photo of 100 px, to make 268 kB of pixels into 110 to 220.
    """

    def _GetDesiredBatchSize(self, data_format: int, schema: Any) -> int:
        return BATCH_ROWS

    @staticmethod
    @beam.ptransform_fn
    def _EncodeAndWrite(
        batches: beam.PCollection, schema: Any, file_format: str, output_path: str
    ) -> beam.PCollection:
        encode = tfx_transform.TransformProcessor._RecordBatchToExamplesFn(schema)
        return (
            batches
            | "CheckLabels" >> beam.Map(_checked)
            | "EncodeAndSerialize" >> beam.ParDo(encode)
            | "ExtractExamples" >> beam.Values()
            | "WriteToTFRecord" >> beam.io.WriteToTFRecord(output_path)
        )


def _checked(batch: tuple[Any, Any]) -> tuple[Any, Any]:
    """Passes on a record batch whose labels are all ingested classes: fits would train with -1."""
    rows, _ = batch
    if keys.LABEL_ID in rows.schema.names:
        ids = rows.column(keys.LABEL_ID).flatten().to_pylist()
        if UNKNOWN_LABEL_ID in ids:
            labels = rows.column(keys.LABEL).flatten()
            raise _unknown_label(labels[ids.index(UNKNOWN_LABEL_ID)].as_py())
    return batch


def _unknown_label(label: bytes) -> UnknownLabel:
    name = printable(label.decode(errors="surrogateescape"))
    return UnknownLabel(
        f"the label '{name}' is none of the ingested classes.",
        to_do="Delete the artifacts of ImageExampleGen and run again.",
    )


class Executor(tfx_transform.Executor):
    """TFX's Transform, through `Processor`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Transforms all splits, then puts the data card beside them.

        The card's labels are added to what `preprocessing_fn` gets: they are known since the
        images were ingested, so that no pass over the examples has to collect them.

        Raises:
          UnknownLabel: naming the label.
        """
        source = artifact_utils.get_single_uri(input_dict[standard_component_specs.EXAMPLES_KEY])
        card = read_card(source)
        # TFX offers no argument for the batch size and names its processor in `Do`.
        with replaced(tfx_transform, "TransformProcessor", Processor):
            super().Do(input_dict, output_dict, _with_labels(exec_properties, card.labels))
        transformed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.TRANSFORMED_EXAMPLES_KEY]
        )
        examples_utils.set_file_format(transformed, "tfrecords")
        write_card(card, transformed.uri)


def _with_labels(exec_properties: dict[str, Any], labels: list[str]) -> dict[str, Any]:
    key = standard_component_specs.CUSTOM_CONFIG_KEY
    custom = json_utils.loads(exec_properties.get(key) or "null") or {}
    return {**exec_properties, key: json_utils.dumps({**custom, LABELS: labels})}
