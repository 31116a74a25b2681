"""Builds a backbone with its weights, and proves where it may be cut."""

import functools
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import tensorflow as tf
import tf_keras as keras

from trainer.backbones.table import BACKBONES, Backbone
from trainer.errors import ThawError
from trainer.store import s3
from trainer.store.uris import is_remote, is_s3

IMAGENET = "imagenet"
RANDOM = "random"

LoadBackbone = Callable[[str, int, str], keras.Model]
"""As `load_backbone`: name, side of the images in pixels, weights."""


class UnusableWeights(ThawError):
    """A backbone's weights do not fit, or cannot be had. The message says what to do."""


def _module(backbone: Backbone) -> object:
    return importlib.import_module(f"tf_keras.applications.{backbone.module}")


def preprocess_input(backbone: Backbone) -> Callable[[tf.Tensor], tf.Tensor]:
    """The backbone's own scaling: float32 [..., 3] in 0 to 255, to what it was trained on."""
    return getattr(_module(backbone), "preprocess_input")  # noqa: B009 - a module, not an object


@contextmanager
def _local_file(path: str) -> Iterator[str]:
    """A path that HDF5 can read, local files only: a remote file is copied for as long."""
    if not is_remote(path):
        yield os.path.expanduser(path)
        return
    with tempfile.TemporaryDirectory(prefix="thaw-weights-") as folder:
        local = os.path.join(folder, os.path.basename(path))
        if is_s3(path):
            s3.download(path, local)
        else:
            tf.io.gfile.copy(path, local)
        yield local


def load_backbone(name: str, size_px: int, weights: str) -> keras.Model:
    """Builds a backbone without its classifier.

    Args:
      name: a key of `BACKBONES`.
      size_px: side of its square input.
      weights: `imagenet` (tf_keras downloads and caches them), `random`, or the path
        of an `.h5` weights file, local or in a store (`gs://`, `s3://`, `minio://`).

    Returns:
      A model from float32 [batch, size_px, size_px, 3], already preprocessed, to its
      last feature map. Layer names are the same however many models the process built.

    Raises:
      UnusableWeights: if the weights do not fit or cannot be had, saying what to do.
    """
    backbone = BACKBONES[name]
    builder = getattr(_module(backbone), backbone.builder)
    # Keras numbers unnamed layers over the whole process; boundaries are names.
    keras.backend.reset_uids()
    build = functools.partial(builder, include_top=False, input_shape=(size_px, size_px, 3))
    if weights == RANDOM:
        return build(weights=None)
    try:
        if weights == IMAGENET:
            return build(weights=IMAGENET)
        with _local_file(weights) as path:
            return build(weights=path)
    except Exception as error:
        raise UnusableWeights(_weights_advice(backbone, size_px, weights, error)) from error


def _weights_advice(backbone: Backbone, size_px: int, weights: str, error: Exception) -> str:
    if weights != IMAGENET:
        return (
            f"backbone.weights: {weights} cannot be loaded into {backbone.name}: {error}\n"
            f"  It must be a weights file of tf_keras's {backbone.builder}, without top."
        )
    file = backbone.imagenet_file(size_px)
    return (
        f"backbone.weights: the ImageNet weights of {backbone.name} cannot be downloaded: {error}\n"
        f"  Put {file} into ~/.keras/models (from {backbone.imagenet_url(size_px)}),\n"
        "  or give a file: --set backbone.weights=PATH, or --set backbone.weights=random."
    )


def boundary_layer(backbone: keras.Model, spec: Backbone, boundary: str) -> str:
    """Returns the layer that a boundary names, after checking that it really cuts.

    Raises:
      ValueError: if the name is unknown, or a layer above depends on the input other
        than through the boundary.
    """
    if boundary not in spec.blocks:
        raise ValueError(
            f"{boundary!r} is not a block of {spec.name}. Blocks: {', '.join(spec.blocks)}."
        )
    layer = spec.blocks[boundary]
    bypass = layers_bypassing(backbone, layer)
    if bypass:
        raise ValueError(
            f"{boundary!r} is no boundary of {spec.name}: {bypass[0]} above it also "
            "depends on a layer below it."
        )
    return layer


def layers_bypassing(model: keras.Model, layer_name: str) -> list[str]:
    """Names the later layers that read an output from below `layer_name` directly.

    Empty for a boundary: then every later layer depends on the model's input only
    through that layer. "Later" is the order of `model.layers`, which is topological.
    """
    names = [layer.name for layer in model.layers]
    position = {name: index for index, name in enumerate(names)}
    boundary = position[layer_name]
    return [
        layer.name
        for layer in model.layers[boundary + 1 :]
        for node in layer.inbound_nodes
        for parent in node.parent_nodes
        if position[parent.layer.name] < boundary
    ]


def trunk_of(backbone: keras.Model, layer_name: str) -> keras.Model:
    """The backbone from its input to a layer's output, sharing its weights."""
    return keras.Model(backbone.input, backbone.get_layer(layer_name).output, name="trunk")


def top_blocks_of(backbone: keras.Model, layer_name: str) -> keras.Model:
    """The backbone from a layer's output to its last feature map, sharing its weights."""
    cut = backbone.get_layer(layer_name).output
    return keras.Model(cut, backbone.output, name="top_blocks")


def calibrate_batch_norm(backbone: keras.Model, images: tf.Tensor) -> None:
    """Sets every BatchNorm layer's moving statistics from one batch of real images.

    A randomly initialised InceptionV3 in inference mode shrinks its features to
    nothing (std 3e-5 at the pooled output); after this call they are of order 1.

    Args:
      backbone: built model whose BatchNorm layers still hold initial statistics.
      images: float32 [batch, height, width, 3], already preprocessed for this
        backbone. 64 images are enough at 299 px.

    Raises:
      ValueError: if `images` holds fewer than 2 images (no variance).
    """
    if len(images) < 2:
        raise ValueError(f"calibration needs at least 2 training images, not {len(images)}.")
    layers = batch_norm_layers(backbone)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    backbone(images, training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def batch_norm_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The BatchNorm layers of a model that has no nested models."""
    return [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
