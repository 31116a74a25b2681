"""Reads what the first nodes of a run have left: pooled features, pixels, names."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer import keys
from trainer.backbones.networks import load_backbone, top_blocks_of
from trainer.data.examples import bytes_of, in_batches, read_examples
from trainer.data.images import parse_image
from trainer.model.trunk import BACKBONE_FILE, parse_features, view_name
from trainer.process import progress
from trainer.specs import TrunkSpec

_BATCH_SIZE = 32


@dataclass(frozen=True)
class Features:
    """All images, in one order.

    Attributes:
      ids: hashes of the files.
      paths: of the files.
      labels: class names.
      vectors: float32 [images, channels], the backbone's pooled output: what fit 1 trains on.
      seconds_per_image: that the blocks above the trunk take.
    """

    ids: list[str]
    paths: list[str]
    labels: list[str]
    vectors: np.ndarray
    seconds_per_image: float


def read_features(features_uri: str, trunk_uri: str, spec: TrunkSpec, count: int) -> Features:
    """Pools the features of all splits.

    Args:
      features_uri: what TrunkFeatures wrote.
      trunk_uri: the weights that it used.
      spec: its trunk.
      count: number of images, for the progress.
    """
    backbone = load_backbone(
        spec.backbone, spec.image_size_px, os.path.join(trunk_uri, BACKBONE_FILE)
    )
    top = top_blocks_of(backbone, spec.layer)
    pool = tf.function(lambda batch: tf.reduce_mean(top(batch, training=False), axis=[1, 2]))
    counter = progress.Counter("images", count)
    ids, paths, labels, vectors = [], [], [], []
    seconds = 0.0
    for batch in in_batches(_examples(features_uri, view_name(0, "*")), _BATCH_SIZE):
        found = [parse_features(bytes_of(one, keys.TRUNK), spec.dtype) for one in batch]
        started = time.monotonic()
        vectors.append(pool(tf.stack(found)).numpy())
        # Not the first, which traces.
        seconds += time.monotonic() - started if len(vectors) > 1 else 0.0
        ids += [bytes_of(one, keys.ID).decode() for one in batch]
        paths += [bytes_of(one, keys.PATH).decode() for one in batch]
        labels += [bytes_of(one, keys.LABEL).decode() for one in batch]
        counter.add(len(batch))
    timed = len(ids) - len(vectors[0])
    return Features(ids, paths, labels, np.concatenate(vectors), seconds / max(1, timed))


def read_pixels(examples_uri: str, size_px: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the id and uint8 [size_px, size_px, 3] of every image that Transform wrote."""
    for example in _examples(examples_uri, "*"):
        pixels = parse_image(tf.constant(bytes_of(example, keys.IMAGE)), size_px).numpy()
        yield bytes_of(example, keys.ID).decode(), pixels


def _examples(uri: str, pattern: str) -> Iterator[tf.train.Example]:
    for split in keys.SPLITS:
        yield from read_examples(uri, split, pattern)
