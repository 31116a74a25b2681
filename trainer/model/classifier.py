"""The classifier: preprocessing, backbone, head; and which of its layers train."""

import tensorflow as tf
import tf_keras as keras

from trainer.backbones.networks import preprocess_input, top_blocks_of
from trainer.backbones.table import BACKBONES
from trainer.specs import ModelSpec


def build_classifier(
    spec: ModelSpec, backbone: keras.Model, train_batch_norm: bool = False
) -> keras.Model:
    """Puts preprocessing before a backbone and a new head on top of it.

    Args:
      spec: shape of the model.
      backbone: from `load_backbone`; becomes the layer named `backbone.name`.
      train_batch_norm: let thawed BatchNorm layers follow the data. By default the
        backbone is called with `training=False`, so that fine-tuning never moves the
        moving statistics of its BatchNorm layers, thawed or not.

    Returns:
      A model from uint8 or float32 [batch, size, size, 3] in 0 to 255, to logits
      float32 [batch, num_classes].
    """
    images = keras.Input([spec.image_size_px, spec.image_size_px, 3], dtype="uint8", name="image")
    scaled = preprocess_input(BACKBONES[spec.backbone])(tf.cast(images, tf.float32))
    feature_map = backbone(scaled, training=None if train_batch_norm else False)
    logits = keras.layers.GlobalAveragePooling2D(name="pool")(feature_map)
    for layer in head_layers(spec.head_units, spec.head_dropout, spec.num_classes):
        logits = layer(logits)
    return keras.Model(images, logits, name="classifier")


def head_layers(units: int, dropout: float, num_classes: int) -> list[keras.layers.Layer]:
    """The new layers, from the pooled vector to the logits, not built yet.

    Args:
      units: width of the hidden layer; 0: there is none.
      dropout: share of its units, or of the pooled vector, that is dropped in training.
      num_classes: width of the logits.
    """
    layers = [keras.layers.Dense(units, activation="relu", name="hidden")] if units else []
    if dropout:
        layers.append(keras.layers.Dropout(dropout, name="dropout"))
    # In float32 whatever the other layers compute in: the loss is taken of these.
    layers.append(keras.layers.Dense(num_classes, name="logits", dtype="float32"))
    return layers


def pooling(
    classifier: keras.Model, backbone: keras.Model, layer_name: str, train_batch_norm: bool = False
) -> keras.Model:
    """The blocks of a classifier between the trunk and the head, sharing its weights.

    Args:
      classifier: from `build_classifier`.
      backbone: the backbone inside it.
      layer_name: last layer of the trunk.
      train_batch_norm: as for `build_classifier`.

    Returns:
      A model from float32 [batch, height, width, channels], the trunk's output, to
      [batch, channels], pooled feature maps.
    """
    top = top_blocks_of(backbone, layer_name)
    trunk_output = keras.Input(top.input_shape[1:], name="trunk_output")
    feature_map = top(trunk_output, training=None if train_batch_norm else False)
    return keras.Model(trunk_output, classifier.get_layer("pool")(feature_map), name="pooling")


def on_trunk_features(
    classifier: keras.Model, backbone: keras.Model, layer_name: str, train_batch_norm: bool = False
) -> keras.Model:
    """The same classifier, entered above a layer of its backbone: `pooling`, then the head."""
    below = pooling(classifier, backbone, layer_name, train_batch_norm)
    return keras.Model(below.input, on_pooled(classifier)(below.output), name="above_trunk")


def on_pooled(classifier: keras.Model) -> keras.Model:
    """The head alone: float32 [batch, channels], pooled feature maps, to logits."""
    names = [layer.name for layer in classifier.layers]
    head = classifier.layers[names.index("pool") + 1 :]
    pooled = keras.Input(classifier.get_layer("pool").output.shape[1:], name="pooled")
    logits = pooled
    for layer in head:
        logits = layer(logits)
    return keras.Model(pooled, logits, name="head")


def freeze(backbone: keras.Model) -> None:
    """Makes every layer of the backbone keep its weights. Compile afterwards."""
    backbone.trainable = False


def thaw_above(backbone: keras.Model, layer_name: str) -> int:
    """Lets the layers after `layer_name` train and freezes the others. Compile afterwards.

    Returns:
      How many layers stay frozen (249 for InceptionV3 above mixed8).
    """
    num_frozen = [layer.name for layer in backbone.layers].index(layer_name) + 1
    backbone.trainable = True
    for layer in backbone.layers[:num_frozen]:
        layer.trainable = False
    return num_frozen
