"""A classifier taken apart, as an exported model and what is fitted to it need it."""

from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from trainer.backbones.networks import preprocess_input, trunk_of
from trainer.backbones.table import BACKBONES
from trainer.model.classifier import on_pooled, on_trunk_features, pooling


@dataclass(frozen=True)
class ClassifierParts:
    """Models that share one classifier's weights.

    Attributes:
      classifier: uint8 images to logits.
      pool_images: uint8 images to pooled vectors.
      pool: what the fits read, images or features of the trunk, to pooled vectors.
      head: pooled vectors to logits.
      trunk: uint8 images to the feature map of the boundary.
      above: that feature map to logits.
    """

    classifier: keras.Model
    pool_images: keras.Model
    pool: keras.Model
    head: keras.Model
    trunk: keras.Model
    above: keras.Model


def take_apart(
    classifier: keras.Model, backbone: keras.Model, backbone_name: str, trunk_layer: str | None
) -> ClassifierParts:
    """Cuts a classifier at its trunk and at its head.

    Args:
      classifier: from `build_classifier`.
      backbone: the backbone inside it.
      backbone_name: key of `BACKBONES`.
      trunk_layer: last layer of the trunk whose features the fits read; None: they read images,
        and heat maps are of the backbone's last feature map.
    """
    pool_images = keras.Model(classifier.input, classifier.get_layer("pool").output, name="pooled")
    head = on_pooled(classifier)
    if trunk_layer:
        trunk = trunk_of(backbone, trunk_layer)
        pool = pooling(classifier, backbone, trunk_layer)
        above = on_trunk_features(classifier, backbone, trunk_layer)
    else:
        trunk, pool = backbone, pool_images
        feature_map = keras.Input(backbone.output_shape[1:], name="feature_map")
        above = keras.Model(feature_map, head(classifier.get_layer("pool")(feature_map)))
    scaled = preprocess_input(BACKBONES[backbone_name])(tf.cast(classifier.input, tf.float32))
    to_boundary = keras.Model(classifier.input, trunk(scaled, training=False), name="to_boundary")
    return ClassifierParts(classifier, pool_images, pool, head, to_boundary, above)
