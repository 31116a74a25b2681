"""Starts a head from that of an earlier run, whose classes may be others."""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf
import tf_keras as keras

from trainer.errors import ThawError
from trainer.export import LABELS_FILE
from trainer.model.classifier import build_classifier
from trainer.model.weight_files import load_weights
from trainer.specs import ModelSpec

WEIGHTS_FILE = os.path.join("warm_start", "classifier.weights.h5")
"""In a model's folder: the weights of the whole classifier."""

_LABELS = os.path.join("Format-Serving", "assets", LABELS_FILE)


def start_from_earlier(
    classifier: keras.Model,
    backbone: keras.Model,
    spec: ModelSpec,
    labels: Sequence[str],
    model_dir: str,
) -> None:
    """Copies an earlier head's weights; the logits of new classes keep their first weights.

    Args:
      classifier: changed in place, the layers of its head alone.
      backbone: the backbone inside it.
      spec: of the classifier.
      labels: its class names, by label id.
      model_dir: model of the earlier run's HeadTrainer, local or remote.

    Raises:
      ThawError: if that model is missing, if it has another backbone or another head, or if none
        of its classes is left.
    """
    earlier_labels = _read_labels(model_dir)
    kept = [label for label in labels if label in earlier_labels]
    if not kept:
        raise ThawError(
            f"has no class of these images. Its classes are {', '.join(earlier_labels)}.",
            where=model_dir,
            to_do="Start from another run, or from none.",
        )
    # Loaded through the same backbone, which is slow to build; its weights are put back.
    own = backbone.get_weights()
    earlier = build_classifier(replace(spec, num_classes=len(earlier_labels)), backbone)
    _load(earlier, os.path.join(model_dir, WEIGHTS_FILE), model_dir)
    *hidden, logits = _head(earlier)
    *own_hidden, own_logits = _head(classifier)
    for layer, own_layer in zip(hidden, own_hidden, strict=True):
        own_layer.set_weights(layer.get_weights())
    own_logits.set_weights(
        [
            _copy_classes(before, now, [(earlier_labels.index(x), labels.index(x)) for x in kept])
            for before, now in zip(logits.get_weights(), own_logits.get_weights(), strict=True)
        ]
    )
    backbone.set_weights(own)
    new = len(labels) - len(kept)
    print(f"fit 1 starts from {model_dir}: {len(kept)} classes are kept, {new} are new")


def _read_labels(model_dir: str) -> list[str]:
    path = os.path.join(model_dir, _LABELS)
    if not tf.io.gfile.exists(path):
        raise ThawError(
            "is not the model of an earlier run's HeadTrainer.",
            where=model_dir,
            to_do="If it was deleted, run without it: the head then starts from random weights.",
        )
    with tf.io.gfile.GFile(path) as file:
        return str(file.read()).splitlines()


def _load(classifier: keras.Model, path: str, model_dir: str) -> None:
    try:
        load_weights(classifier, path)
    except ValueError as error:
        raise ThawError(
            "its head does not fit: it is of another backbone or another width.",
            where=model_dir,
            to_do="Set backbone.name, head.units and head.dropout as they were in that run, or "
            "start from none.",
        ) from error


def _head(classifier: keras.Model) -> list[keras.layers.Layer]:
    """The layers with weights after the pooling."""
    names = [layer.name for layer in classifier.layers]
    return [layer for layer in classifier.layers[names.index("pool") + 1 :] if layer.weights]


def _copy_classes(
    before: np.ndarray, now: np.ndarray, places: Sequence[tuple[int, int]]
) -> np.ndarray:
    """Returns `now` with the classes of `before` put in; classes are the last axis."""
    copied = now.copy()
    for old, new in places:
        copied[..., new] = before[..., old]
    return copied
