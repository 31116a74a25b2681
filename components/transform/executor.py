"""Has TFX write the transform graph, and runs it over the examples."""

from typing import Any

from tfx import types
from tfx.components.transform import executor as tfx_transform
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils

from components.transform.materialize import write_transformed
from trainer import keys
from trainer.data.card import read_card, write_card
from trainer.preprocessing import LABELS


class Executor(tfx_transform.Executor):
    """TFX's Transform, which writes the graph alone; the examples are written by `materialize`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the graph and all splits, then puts the data card beside them.

        The card's labels are added to what `preprocessing_fn` gets: they are known since the
        images were ingested, so that no pass over the examples has to collect them. With no
        analysis, and no examples to write, TFX writes the graph without reading an example.

        Raises:
          UnknownLabel: naming the label.
        """
        source = artifact_utils.get_single_uri(input_dict[standard_component_specs.EXAMPLES_KEY])
        card = read_card(source)
        outputs = dict(output_dict)
        (transformed,) = outputs.pop(standard_component_specs.TRANSFORMED_EXAMPLES_KEY)
        super().Do(input_dict, outputs, _with_labels(exec_properties, card.labels))
        graph = artifact_utils.get_single_uri(outputs[standard_component_specs.TRANSFORM_GRAPH_KEY])
        write_transformed(self._make_beam_pipeline(), graph, source, transformed.uri, card)
        transformed.split_names = artifact_utils.encode_split_names(list(keys.SPLITS))
        examples_utils.set_payload_format(transformed, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(transformed, "tfrecords")
        write_card(card, transformed.uri)


def _with_labels(exec_properties: dict[str, Any], labels: list[str]) -> dict[str, Any]:
    key = standard_component_specs.CUSTOM_CONFIG_KEY
    custom = json_utils.loads(exec_properties.get(key) or "null") or {}
    return {**exec_properties, key: json_utils.dumps({**custom, LABELS: labels})}
