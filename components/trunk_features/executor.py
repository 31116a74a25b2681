"""The work: each file of images becomes one file of features, in the same order.

A bundle of Beam's reads a file, runs the trunk and writes a file without a step that
groups, so memory stays bounded on runners that keep groups in memory, and every runner
writes the same rows into the same files.
"""

import functools
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import MetricResults
from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RunInference
from apache_beam.ml.inference.tensorflow_inference import ModelType, TFModelHandlerNumpy
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.trunk_features.features_file import PARTIAL_FOLDER, FeaturesFile, Stored
from components.trunk_features.store.prune import prune
from components.trunk_features.store.reading import StoreReader, mark_used
from components.trunk_features.store.trunks import TrunkAbout, sha256_of_weights, write_about
from trainer import keys, records
from trainer.data import fit_data
from trainer.data.augment import augment
from trainer.data.card import read_card, write_card
from trainer.data.images import parse_image
from trainer.distribution.strategy import make_deterministic
from trainer.errors import ThawError
from trainer.model.trunk import BACKBONE_FILE, Trunk, view_name
from trainer.model.weight_files import save_weights
from trainer.process import progress
from trainer.specs import TrunkFeaturesArgs, TrunkStoreArgs, from_json
from trainer.start_weights import load_start_weights

SETTINGS = "settings"
STORE = "store"
EXAMPLES = "examples"
FEATURES = "features"
TRUNK = "trunk"

# Properties of the features: numbers of images.
FROM_STORE = "images_from_store"
THROUGH_TRUNK = "images_through_trunk"

# 32 images of 299 px keep both cores busy and take about 1 GB while they pass.
_BATCH_SIZE = 32
_METRICS = "trunk_features"
_WHOLE = "whole"


class Shard(NamedTuple):
    """One file of images, and the file of features that one view of them goes to."""

    source: str
    target: str
    view: int


class Row(NamedTuple):
    """Where the features of one image go, and what else is known of it.

    Attributes:
      target: file of features.
      position: of the row in it.
      is_last: whether only rows of the store follow.
      about: the example without the features.
      key: of the image in the store; empty: there is none.
      before: rows of the store that stand between the last row and this one.
      after: rows of the store that stand behind the last one.
    """

    target: str
    position: int
    is_last: bool
    about: bytes
    key: bytes = b""
    before: tuple[Stored, ...] = ()
    after: tuple[Stored, ...] = ()


class Counts(NamedTuple):
    """How many images of all views were found in the store, and how many passed the trunk."""

    stored: int
    computed: int


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
        counts = write_features(
            self._make_beam_pipeline(),
            settings,
            examples_uri,
            found.uri,
            weights_path,
            _store(exec_properties.get(STORE)),
        )
        if counts:
            found.set_int_custom_property(FROM_STORE, counts.stored)
            found.set_int_custom_property(THROUGH_TRUNK, counts.computed)
        examples_utils.set_payload_format(found, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(found, "tfrecords")


def _store(text: str | None) -> TrunkStoreArgs | None:
    return records.read(TrunkStoreArgs, text, STORE) if text else None


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
    store: TrunkStoreArgs | None = None,
) -> Counts | None:
    """Runs the trunk over all splits.

    Args:
      pipeline: not yet run; it is run here.
      settings: see there.
      examples_uri: folder of Transform's examples and the data card.
      uri: gets `Split-<name>/view-<n>-<file>`, TFRecords of tf.Example, and the card.
      weights_path: from `write_backbone`.
      store: images whose pixels this trunk has seen before are taken from there, and the
        others are added; None: there is none.

    Returns:
      How many images came from where; None without a store, or if the runner does not count.

    Raises:
      ThawError: if a file was not written whole.
    """
    store_folder = open_store(store, settings, weights_path) if store else ""
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
    counter = progress.Counter("images", num_images)
    with pipeline as p:
        read = (
            p
            | "Files" >> beam.Create(shards)
            | "Spread" >> beam.Reshuffle()
            | "Read"
            >> beam.ParDo(_ReadImages(settings, store_folder)).with_outputs(_WHOLE, main="new")
        )
        _ = (
            read.new
            | "Trunk" >> RunInference(KeyedModelHandler(handler))
            | "Write" >> beam.ParDo(_WriteRows(counter, store_folder))
        )
        _ = read[_WHOLE] | "Copy" >> beam.ParDo(_CopyRows(counter))
    missing = [shard for shard in shards if not _is_written(shard)]
    if missing:
        more = f" and {len(missing) - 1} more were" if len(missing) > 1 else " was"
        raise ThawError(
            f"the file{more} not written, although Beam reports success.",
            where=missing[0].target,
            to_do="Look at the log of Beam's workers, and run the same command again.",
        )
    if tf.io.gfile.exists(os.path.join(uri, PARTIAL_FOLDER)):
        tf.io.gfile.rmtree(os.path.join(uri, PARTIAL_FOLDER))
    write_card(card, uri)
    return _finish(store, _counts(pipeline)) if store else None


def open_store(store: TrunkStoreArgs, settings: TrunkFeaturesArgs, weights_path: str) -> str:
    """The folder of a store that belongs to a trunk; makes it if it is missing."""
    about = TrunkAbout(settings.spec, sha256_of_weights(weights_path))
    folder = os.path.join(store.path, about.fingerprint)
    write_about(about, folder)
    mark_used(folder)
    return folder


def _counts(pipeline: beam.Pipeline) -> Counts | None:
    found = {
        counter.key.metric.name: counter.result
        for counter in pipeline.result.metrics().query()[MetricResults.COUNTERS]
        if counter.key.metric.namespace == _METRICS
    }
    return Counts(found.get(FROM_STORE, 0), found.get(THROUGH_TRUNK, 0)) if found else None


def _finish(store: TrunkStoreArgs, counts: Counts | None) -> Counts | None:
    """Says what the store was good for, and keeps it small enough."""
    if counts:
        print(f"{counts.stored:,} of {sum(counts):,} images came from the trunk store {store.path}")
    pruned = prune(store.path, store.max_bytes)
    if pruned.images:
        print(f"removed {pruned.images:,} images from the trunk store, to keep it small enough")
    return counts


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
    """Shard to (Row, uint8 [size, size, 3]) for each image that is not in the store, in order.

    A file all of whose images are in the store is a `_WHOLE` output: its target and its rows.
    """

    def __init__(self, settings: TrunkFeaturesArgs, folder: str) -> None:
        self._settings = settings
        self._folder = folder
        self._stored = Metrics.counter(_METRICS, FROM_STORE)
        self._computed = Metrics.counter(_METRICS, THROUGH_TRUNK)

    def setup(self) -> None:
        self._view = tf.function(functools.partial(augment, how=self._settings.augmentation))
        self._store = StoreReader(self._folder) if self._folder else None

    def process(self, shard: Shard) -> Iterator[Any]:
        stored: list[Stored] = []
        waiting: tuple[Row, np.ndarray] | None = None
        serialized = fit_data.read_records([shard.source]).as_numpy_iterator()
        for position, record in enumerate(serialized):
            example = tf.train.Example.FromString(record)
            image = self._image(example, shard.view).numpy()
            key = hashlib.sha256(image).digest() if self._store else b""
            found = self._store.find(key) if self._store else None
            if found:
                stored.append(Stored(_about(example), found))
                self._stored.inc()
                continue
            if waiting:
                yield waiting
            row = Row(shard.target, position, False, _about(example), key, tuple(stored))
            waiting, stored = (row, image), []
            self._computed.inc()
        if waiting:
            row, image = waiting
            yield row._replace(is_last=True, after=tuple(stored)), image
        elif stored:
            yield beam.pvalue.TaggedOutput(_WHOLE, (shard.target, stored))

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
    """Puts rows into their files, and new ones into the store as well.

    A file appears when its last row is in it. The rows of a file come in order and in one
    bundle, since nothing between reading and writing makes a runner break the chain; were one
    to do so, it would be noticed here.
    """

    def __init__(self, counter: progress.Counter, folder: str) -> None:
        self._counter = counter
        self._folder = folder

    def start_bundle(self) -> None:
        self._open: dict[str, FeaturesFile] = {}

    def process(self, element: tuple[Row, PredictionResult]) -> None:
        row, result = element
        file = self._open.get(row.target) or FeaturesFile(row.target, self._folder)
        self._open[row.target] = file
        file.copy(row.before)
        if row.position != file.num_rows:
            raise _split_by_runner(row.target)
        file.write(row.about, tf.io.serialize_tensor(result.inference).numpy(), row.key)
        file.copy(row.after)
        self._counter.add(1 + len(row.before) + len(row.after))
        if row.is_last:
            self._open.pop(row.target).finish()

    def finish_bundle(self) -> None:
        if self._open:
            raise _split_by_runner(next(iter(self._open)))


class _CopyRows(beam.DoFn):
    """Writes the files all of whose rows are in the store."""

    def __init__(self, counter: progress.Counter) -> None:
        self._counter = counter

    def process(self, element: tuple[str, list[Stored]]) -> None:
        target, rows = element
        file = FeaturesFile(target)
        file.copy(rows)
        file.finish()
        self._counter.add(len(rows))


def _split_by_runner(target: str) -> ThawError:
    return ThawError(
        "is incomplete: the Beam runner has split or reordered the images of one file.",
        where=target,
        to_do="Choose another --runner in beam.options or beam.nodes.TrunkFeatures.",
    )
