"""What TFX runs: unpacks the arguments of `write_examples`."""

from typing import Any

import apache_beam as beam
from google.protobuf import struct_pb2
from tfx import types
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.image_example_gen.checking import Limits
from components.image_example_gen.sources.find import is_unpacked
from components.image_example_gen.sources.tfrecord import USUAL_KEYS, RecordKeys
from components.image_example_gen.write_examples import write_examples
from trainer import keys, records
from trainer.data.card import read_card
from trainer.data.rules import SplitRule
from trainer.errors import ThawError
from trainer.records import to_json
from trainer.specs import AS_IN_THE_RECIPE, ImageReading, from_json
from trainer.store.uris import is_remote

# Keys beside the limits: how files are re-encoded, the features of records and the
# split rule as JSON, one that only the cache reads, and what the images must be, if it matters.
COLOUR_PROFILES = "colour_profiles"
RECORD_KEYS = "record_keys"
SPLIT_RULE = "split_rule"
VERSION = "thaw_version"
EXPECTED_FINGERPRINT = "expected_fingerprint"


class Executor(BaseExampleGenExecutor):
    """Writes the splits, the data card and the list of rejected files."""

    def GetInputSourceToExamplePTransform(self) -> beam.PTransform:
        """Not used: grouping by content needs more than one transform."""
        raise NotImplementedError("ImageExampleGen writes its splits itself.")

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpacks TFX's arguments; see `write_examples`."""
        self._log_startup(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.EXAMPLES_KEY]
        )
        artifact.split_names = artifact_utils.encode_split_names(list(keys.SPLITS))
        images_dir = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        config = _unpack(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        write_examples(
            self._make_beam_pipeline(),
            images_dir,
            artifact.uri,
            _split_rule(config),
            Limits(int(config["max_pixels"]), int(config["max_file_bytes"])),
            _reading(config),
            self._work_dir(images_dir),
            _record_keys(config),
        )
        _check_fingerprint(artifact.uri, str(config.get(EXPECTED_FINGERPRINT, "")))
        examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(artifact, "tfrecords_gzip")

    def _work_dir(self, images_dir: str) -> str | None:
        """Where archives and records are unpacked: on the artifacts' disk, if that is local."""
        if not is_unpacked(images_dir):
            return None
        folder = self._get_tmp_dir()
        return None if is_remote(folder) else folder


_Values = dict[str, float | str]


def _check_fingerprint(examples_uri: str, expected: str) -> None:
    """Stops a run on other images than the config asks for."""
    card = read_card(examples_uri)
    if expected and card.fingerprint != expected:
        raise ThawError(
            f"these are not the images that data.fingerprint names: {card.fingerprint} is their "
            f"fingerprint, and {expected} is expected. Files were added, removed, changed or moved "
            "to another class.",
            where=card.images_dir,
            to_do="Restore the images, or set data.fingerprint to the new value or to nothing.",
        )


def _split_rule(config: _Values) -> SplitRule:
    return records.read(SplitRule, str(config[SPLIT_RULE]), SPLIT_RULE)


def _reading(config: _Values) -> ImageReading:
    """What of it matters here: shape and background are the graph's."""
    profiles = str(config.get(COLOUR_PROFILES, "convert"))
    return from_json(ImageReading, {**to_json(AS_IN_THE_RECIPE), COLOUR_PROFILES: profiles})


def _record_keys(config: _Values) -> RecordKeys:
    text = config.get(RECORD_KEYS)
    return records.read(RecordKeys, str(text), RECORD_KEYS) if text else USUAL_KEYS


def _unpack(custom_config: str) -> _Values:
    packed = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(custom_config, packed)
    config = struct_pb2.Struct()
    packed.custom_config.Unpack(config)
    return dict(config.items())
