"""The component's interface."""

from google.protobuf import any_pb2, struct_pb2
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from components.image_example_gen import driver, executor
from components.image_example_gen.sources.tfrecord import USUAL_KEYS, RecordKeys
from trainer import keys, records
from trainer.data.rules import SplitRule


class ImageExampleGen(FileBasedExampleGen):
    """Reads a folder, a manifest or an archive into train, val and test examples.

    Outputs `examples`: gzipped TFRecords of tf.Example with the features of
    `trainer.keys`, one folder a split; beside them the data card and the list of
    files that were rejected.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        images_dir: str,
        split_rule: SplitRule,
        max_pixels: int,
        max_file_bytes: int,
        colour_profiles: str = "convert",
        version: str = "",
        record_keys: RecordKeys = USUAL_KEYS,
        expected_fingerprint: str = "",
    ) -> None:
        """Args:
        images_dir: what `data.images` names: see `sources.find`.
        split_rule: how the images are divided into train, val and test.
        max_pixels: larger images are rejected before they are decoded.
        max_file_bytes: larger files are rejected unread.
        colour_profiles: what re-encoding makes of them: see `trainer.specs.ImageReading`.
        record_keys: names of the features of TFRecords.
        version: of what makes examples of images: another one makes them again.
        expected_fingerprint: of the images; with others the node fails. Empty: any will do.
        """
        parts = split_rule.parts
        config = struct_pb2.Struct()
        limits = {"max_pixels": max_pixels, "max_file_bytes": max_file_bytes}
        texts = {
            executor.COLOUR_PROFILES: colour_profiles,
            executor.RECORD_KEYS: records.dumps(record_keys),
            executor.SPLIT_RULE: records.dumps(split_rule),
            executor.VERSION: version,
        }
        if expected_fingerprint:
            texts[executor.EXPECTED_FINGERPRINT] = expected_fingerprint
        config.update({**limits, **texts})
        packed = any_pb2.Any()
        packed.Pack(config)
        super().__init__(
            input_base=images_dir,
            input_config=example_gen_pb2.Input(
                splits=[example_gen_pb2.Input.Split(name="images", pattern="*/*")]
            ),
            output_config=example_gen_pb2.Output(
                split_config=example_gen_pb2.SplitConfig(
                    splits=[
                        example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=parts[name])
                        for name in keys.SPLITS
                    ]
                )
            ),
            custom_config=example_gen_pb2.CustomConfig(custom_config=packed),
        )
