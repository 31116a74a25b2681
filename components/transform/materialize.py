"""Runs the transform graph over the examples: each file of them becomes one file, in order.

TFX's own way turns every image into columns and back and pickles it in between, on one core;
TensorFlow reads, decodes and writes the same images on all cores, and keeps their order.
"""

import os
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from trainer import keys
from trainer.data import fit_data
from trainer.data.card import DataCard
from trainer.data.labels import printable
from trainer.errors import ThawError
from trainer.preprocessing import UNKNOWN_LABEL_ID
from trainer.process import progress
from trainer.remote_files import replacing

# 32 images of 299 px take 9 MB and decode as fast as more. Two batches are decoded at a time.
BATCH_ROWS = 32
_BATCHES_AT_A_TIME = 2
_PARTIAL_FOLDER = "partial"


class UnknownLabel(ThawError):
    """An image has a label that was not ingested. The message says what to do."""


class ExampleFile(NamedTuple):
    """A file of ingested examples, and the file that they are written to."""

    source: str
    target: str


def write_transformed(
    pipeline: beam.Pipeline, graph_uri: str, examples_uri: str, uri: str, card: DataCard
) -> None:
    """Transforms all splits.

    Args:
      pipeline: not yet run; it is run here.
      graph_uri: what Transform wrote of `preprocessing_fn`.
      examples_uri: folder of ingested examples, `Split-<name>/*`.
      uri: gets `Split-<name>/*`, TFRecords of tf.Example, a file for each of the ingested ones.
      card: of the ingested examples.

    Raises:
      UnknownLabel: naming the label.
      ThawError: if a file was not written.
    """
    files = list_example_files(examples_uri, uri)
    for folder in {os.path.dirname(file.target) for file in files}:
        tf.io.gfile.makedirs(folder)
    partial = os.path.join(uri, _PARTIAL_FOLDER)
    tf.io.gfile.makedirs(partial)
    num_images = sum(card.num_examples(split) for split in keys.SPLITS)
    with pipeline as p:
        _ = (
            p
            | "Files" >> beam.Create(files)
            | "Spread" >> beam.Reshuffle()
            | "Transform"
            >> beam.ParDo(
                _TransformFile(graph_uri, partial, progress.Counter("images", num_images))
            )
        )
    missing = [file.target for file in files if not tf.io.gfile.exists(file.target)]
    if missing:
        raise ThawError(
            "was not written, although Beam reports success.",
            where=missing[0],
            to_do="Look at the log of Beam's workers, and run the same command again.",
        )
    tf.io.gfile.rmtree(partial)


def list_example_files(examples_uri: str, uri: str) -> list[ExampleFile]:
    """Pairs every file of ingested examples with the one it becomes."""
    files = []
    for split in keys.SPLITS:
        folder = keys.split_folder(split)
        for source in fit_data.list_files([os.path.join(examples_uri, folder, "*")]):
            name = os.path.basename(source).removesuffix(".gz")
            files.append(ExampleFile(source, os.path.join(uri, folder, name)))
    return files


class _TransformFile(beam.DoFn):
    """Writes one file under a temporary name, and gives it its own when it is complete."""

    def __init__(self, graph_uri: str, partial: str, counter: progress.Counter) -> None:
        self._graph_uri = graph_uri
        self._partial = partial
        self._counter = counter

    def setup(self) -> None:
        graph = tft.TFTransformOutput(self._graph_uri)
        spec, layer = graph.raw_feature_spec(), graph.transform_features_layer()

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def transform(records: tf.Tensor) -> dict[str, tf.Tensor]:
            return layer(tf.io.parse_example(records, spec))

        self._transform = transform

    def process(self, file: ExampleFile) -> None:
        partial = os.path.join(self._partial, uuid.uuid4().hex)
        with replacing(file.target, partial), tf.io.TFRecordWriter(partial) as writer:
            for batch in self._batches(file.source):
                for example in to_examples(batch):
                    writer.write(example.SerializeToString(deterministic=True))
                    self._counter.add()

    def _batches(self, source: str) -> Iterator[dict[str, np.ndarray]]:
        """The transformed rows of a file, in order; the next batch is decoded meanwhile."""
        records = fit_data.read_records([source]).batch(BATCH_ROWS).prefetch(1)
        pending: deque[Future[dict[str, tf.Tensor]]] = deque()
        # Not `Dataset.map`: every new dataset optimizes the graph again, which takes seconds.
        with ThreadPoolExecutor(_BATCHES_AT_A_TIME) as pool:
            for batch in records:
                pending.append(pool.submit(self._transform, batch))
                if len(pending) > _BATCHES_AT_A_TIME:
                    yield _to_numpy(pending.popleft().result())
            while pending:
                yield _to_numpy(pending.popleft().result())


def _to_numpy(batch: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {name: column.numpy() for name, column in batch.items()}


def to_examples(batch: Mapping[str, np.ndarray]) -> Iterator[tf.train.Example]:
    """Turns columns, [rows] each, into an example a row.

    Raises:
      UnknownLabel: if a label is not among the ingested ones; fits would train with -1.
    """
    label_ids = batch.get(keys.LABEL_ID, np.empty(0))
    unknown = np.flatnonzero(label_ids == UNKNOWN_LABEL_ID)
    if unknown.size:
        raise _unknown_label(batch[keys.LABEL][unknown[0]])
    for row in zip(*batch.values(), strict=True):
        features = {name: _feature(value) for name, value in zip(batch, row, strict=True)}
        yield tf.train.Example(features=tf.train.Features(feature=features))


def _feature(value: Any) -> tf.train.Feature:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if isinstance(value, np.integer):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))
    return tf.train.Feature(float_list=tf.train.FloatList(value=[float(value)]))


def _unknown_label(label: bytes) -> UnknownLabel:
    name = printable(label.decode(errors="surrogateescape"))
    return UnknownLabel(
        f"the label '{name}' is none of the ingested classes.",
        to_do="Delete the artifacts of ImageExampleGen and run again.",
    )
