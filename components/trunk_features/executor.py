"""The work: each file of images becomes one file of features, in the same order.

A bundle of Beam's reads a file, runs the trunk and writes a file without a step that
groups, so memory stays bounded on runners that keep groups in memory, and every runner
writes the same rows into the same files.
"""

import functools
import json
import os
import uuid
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RunInference
from apache_beam.ml.inference.tensorflow_inference import ModelType, TFModelHandlerNumpy
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from trainer import keys
from trainer.data import fit_data
from trainer.data.augment import augment
from trainer.data.card import read_card, write_card
from trainer.data.images import parse_image
from trainer.distribution.strategy import make_deterministic
from trainer.errors import ThawError
from trainer.model.trunk import BACKBONE_FILE, Trunk, view_name
from trainer.model.weight_files import save_weights
from trainer.process import progress
from trainer.remote_files import replacing
from trainer.specs import TrunkFeaturesArgs, from_json
from trainer.start_weights import load_start_weights

SETTINGS = "settings"
EXAMPLES = "examples"
FEATURES = "features"
TRUNK = "trunk"

# 32 images of 299 px keep both cores busy and take about 1 GB while they pass.
_BATCH_SIZE = 32
_PARTIAL_FOLDER = "partial"


class Shard(NamedTuple):
    """One file of images, and the file of features that one view of them goes to."""

    source: str
    target: str
    view: int


class Row(NamedTuple):
    """Where the features of one image go, and what else is known of it."""

    target: str
    position: int
    is_last: bool
    about: bytes


class Executor(BaseBeamExecutor):
    """Writes the backbone's weights, then every file of features."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpacks TFX's arguments; see `write_features`."""
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = from_json(TrunkFeaturesArgs, json.loads(exec_properties[SETTINGS]))
        examples_uri = artifact_utils.get_single_uri(input_dict[EXAMPLES])
        found = artifact_utils.get_single_instance(output_dict[FEATURES])
        found.split_names = artifact_utils.encode_split_names(list(keys.SPLITS))
        weights_path = os.path.join(
            artifact_utils.get_single_uri(output_dict[TRUNK]), BACKBONE_FILE
        )
        write_backbone(settings, examples_uri, weights_path)
        write_features(self._make_beam_pipeline(), settings, examples_uri, found.uri, weights_path)
        examples_utils.set_payload_format(found, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(found, "tfrecords")


def write_backbone(settings: TrunkFeaturesArgs, examples_uri: str, path: str) -> None:
    """Writes the weights that both fits start from and the trunk runs with."""
    make_deterministic(settings.seed)
    pattern = os.path.join(examples_uri, keys.split_folder(keys.TRAIN), "*")
    spec = settings.spec
    backbone = load_start_weights(
        spec.backbone, spec.image_size_px, settings.weights, [pattern], settings.seed
    )
    save_weights(backbone, path)


def write_features(
    pipeline: beam.Pipeline,
    settings: TrunkFeaturesArgs,
    examples_uri: str,
    uri: str,
    weights_path: str,
) -> None:
    """Runs the trunk over all splits.

    Args:
      pipeline: not yet run; it is run here.
      settings: see there.
      examples_uri: folder of Transform's examples and the data card.
      uri: gets `Split-<name>/view-<n>-<file>`, TFRecords of tf.Example, and the card.
      weights_path: from `write_backbone`.

    Raises:
      ThawError: if a file was not written whole.
    """
    shards = list_shards(examples_uri, uri, settings.augmented_views)
    card = read_card(examples_uri)
    num_images = sum(card.num_examples(split) for split in keys.SPLITS)
    num_images += settings.augmented_views * card.num_examples(keys.TRAIN)
    for folder in {os.path.dirname(shard.target) for shard in shards}:
        tf.io.gfile.makedirs(folder)
    handler = TFModelHandlerNumpy(
        model_uri=weights_path,
        model_type=ModelType.SAVED_WEIGHTS,
        create_model_fn=functools.partial(Trunk, settings.spec),
        min_batch_size=_BATCH_SIZE,
        max_batch_size=_BATCH_SIZE,
    )
    with pipeline as p:
        _ = (
            p
            | "Files" >> beam.Create(shards)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_ReadImages(settings))
            | "Trunk" >> RunInference(KeyedModelHandler(handler))
            | "Write" >> beam.ParDo(_WriteRows(progress.Counter("images", num_images)))
        )
    missing = [shard for shard in shards if not _is_written(shard)]
    if missing:
        more = f" and {len(missing) - 1} more were" if len(missing) > 1 else " was"
        raise ThawError(
            f"the file{more} not written, although Beam reports success.",
            where=missing[0].target,
            to_do="Look at the log of Beam's workers, and run the same command again.",
        )
    if tf.io.gfile.exists(os.path.join(uri, _PARTIAL_FOLDER)):
        tf.io.gfile.rmtree(os.path.join(uri, _PARTIAL_FOLDER))
    write_card(card, uri)


def list_shards(examples_uri: str, uri: str, augmented_views: int) -> list[Shard]:
    """Pairs every file of images with the files of features it becomes."""
    shards = []
    for split in keys.SPLITS:
        folder = keys.split_folder(split)
        views = range(1 + augmented_views if split == keys.TRAIN else 1)
        for source in fit_data.list_files([os.path.join(examples_uri, folder, "*")]):
            name = os.path.basename(source).removesuffix(".gz")
            shards += [
                Shard(source, os.path.join(uri, folder, view_name(view, name)), view)
                for view in views
            ]
    return shards


def _is_written(shard: Shard) -> bool:
    if tf.io.gfile.exists(shard.target):
        return True
    return next(iter(fit_data.read_records([shard.source])), None) is None


class _ReadImages(beam.DoFn):
    """Shard to (Row, uint8 [size, size, 3]) for each of its images, in order."""

    def __init__(self, settings: TrunkFeaturesArgs) -> None:
        self._settings = settings

    def setup(self) -> None:
        self._view = tf.function(functools.partial(augment, how=self._settings.augmentation))

    def process(self, shard: Shard) -> Iterator[tuple[Row, np.ndarray]]:
        records = fit_data.read_records([shard.source]).as_numpy_iterator()
        following = next(records, None)
        position = 0
        while following is not None:
            record, following = following, next(records, None)
            example = tf.train.Example.FromString(record)
            image = self._image(example, shard.view)
            row = Row(shard.target, position, following is None, _about(example))
            yield row, image.numpy()
            position += 1

    def _image(self, example: tf.train.Example, view: int) -> tf.Tensor:
        stored = example.features.feature[keys.IMAGE].bytes_list.value[0]
        image = parse_image(tf.constant(stored), self._settings.spec.image_size_px)
        if not view:
            return image
        identity = example.features.feature[keys.ID].bytes_list.value[0]
        seed = (zlib.crc32(identity) ^ self._settings.seed) & 0x7FFFFFFF
        return self._view(image, tf.constant([seed, view]))


def _about(example: tf.train.Example) -> bytes:
    """The example without its image."""
    del example.features.feature[keys.IMAGE]
    return example.SerializeToString(deterministic=True)


class _WriteRows(beam.DoFn):
    """Puts rows into their files; a file appears when its last row is in it.

    The rows of a file come in order and in one bundle, since nothing between reading and
    writing makes a runner break the chain; were one to do so, it would be noticed here.
    """

    def __init__(self, counter: progress.Counter) -> None:
        self._counter = counter

    def start_bundle(self) -> None:
        self._open: dict[str, _PartialFile] = {}

    def process(self, element: tuple[Row, PredictionResult]) -> None:
        row, result = element
        file = self._open.get(row.target) or _PartialFile(row.target)
        self._open[row.target] = file
        file.write(row, tf.io.serialize_tensor(result.inference).numpy())
        self._counter.add()
        if row.is_last:
            self._open.pop(row.target).finish()

    def finish_bundle(self) -> None:
        if self._open:
            raise _split_by_runner(next(iter(self._open)))


def _split_by_runner(target: str) -> ThawError:
    return ThawError(
        "is incomplete: the Beam runner has split or reordered the images of one file.",
        where=target,
        to_do="Choose another --runner in beam.options or beam.nodes.TrunkFeatures.",
    )


class _PartialFile:
    """A file of features under a temporary name."""

    def __init__(self, target: str) -> None:
        self._target = target
        # Not beside the target: readers take every file there.
        folder = os.path.join(os.path.dirname(os.path.dirname(target)), _PARTIAL_FOLDER)
        tf.io.gfile.makedirs(folder)
        self._complete = ExitStack()
        partial = self._complete.enter_context(
            replacing(target, os.path.join(folder, uuid.uuid4().hex))
        )
        self._writer = tf.io.TFRecordWriter(partial)
        self._rows = 0

    def write(self, row: Row, found: bytes) -> None:
        if row.position != self._rows:
            raise _split_by_runner(self._target)
        self._rows += 1
        example = tf.train.Example.FromString(row.about)
        example.features.feature[keys.TRUNK].bytes_list.value.append(found)
        self._writer.write(example.SerializeToString(deterministic=True))

    def finish(self) -> None:
        self._writer.close()
        self._complete.close()
