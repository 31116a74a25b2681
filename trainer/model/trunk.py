"""The trunk, the frozen part of the backbone: run once per image, its output kept."""

import os
import re
from collections.abc import Sequence

import tensorflow as tf

from trainer import keys
from trainer.backbones.networks import boundary_layer, load_backbone, preprocess_input, trunk_of
from trainer.backbones.table import BACKBONES
from trainer.model.precision import layers_compute_in
from trainer.model.weight_files import load_weights
from trainer.specs import TrunkSpec

_VIEW = re.compile(r"view-\d+-")

BACKBONE_FILE = os.path.join("warm_start", "backbone.h5")


class Trunk:
    """Images in, features out; fits into Beam's TensorFlow model handler.

    It has `load_weights` and is called like a Keras model, but reads weights files of
    the whole backbone, also remote ones.
    """

    def __init__(self, spec: TrunkSpec) -> None:
        with layers_compute_in(spec.precision):
            self._backbone = load_backbone(spec.backbone, spec.image_size_px, "random")
        known = BACKBONES[spec.backbone]
        layer = boundary_layer(self._backbone, known, spec.boundary)
        trunk = trunk_of(self._backbone, layer)
        preprocess = preprocess_input(known)
        size_px = spec.image_size_px

        @tf.function(input_signature=[tf.TensorSpec([None, size_px, size_px, 3], tf.uint8)])
        def run(images: tf.Tensor) -> tf.Tensor:
            found = trunk(preprocess(tf.cast(images, tf.float32)), training=False)
            # Infinity would poison both fits, and float16 ends at 65,504.
            dtype = tf.as_dtype(spec.dtype)
            return tf.cast(
                tf.clip_by_value(tf.cast(found, tf.float32), -dtype.max, dtype.max), dtype
            )

        self._run = run

    def load_weights(self, path: str) -> None:
        """Reads the weights of the whole backbone, local or remote."""
        load_weights(self._backbone, path)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Maps uint8 [n, size, size, 3] to [n, height, width, channels] of the spec's dtype."""
        return self._run(images)


def parse_features(serialized: tf.Tensor, dtype: str) -> tf.Tensor:
    """Undoes `tf.io.serialize_tensor`: float32 [height, width, channels], from `dtype`."""
    return tf.cast(tf.io.parse_tensor(serialized, tf.as_dtype(dtype)), tf.float32)


FEATURE_SPEC = {
    keys.TRUNK: tf.io.FixedLenFeature([], tf.string),
    keys.LABEL_ID: tf.io.FixedLenFeature([], tf.int64),
    keys.WEIGHT: tf.io.FixedLenFeature([], tf.float32, default_value=1.0),
}


def view_name(view: int, name: str) -> str:
    """Names the file that holds one view of the images of the file `name`.

    View 0 is the images as they are; the others are augmented.
    """
    return f"view-{view:02d}-{name}"


def files_by_view(files: Sequence[str]) -> list[list[str]]:
    """Groups files of one split by `view_name`; files named otherwise are one view."""
    groups: dict[str, list[str]] = {}
    for path in files:
        found = _VIEW.match(os.path.basename(path))
        groups.setdefault(found.group() if found else "", []).append(path)
    return [groups[name] for name in sorted(groups)]
