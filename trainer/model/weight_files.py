"""Keras weights files on any file system that TensorFlow reads."""

import os
import tempfile

import tensorflow as tf
import tf_keras as keras

from trainer.errors import ThawError


def save_weights(model: keras.Model, path: str) -> None:
    """Writes `.h5` weights. HDF5 writes local files only, so by way of one."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, "weights.h5")
        model.save_weights(local)
        tf.io.gfile.copy(local, path, overwrite=True)


def load_weights(model: keras.Model, path: str) -> None:
    """Reads `.h5` weights, local or remote.

    Raises:
      ThawError: if there is no such file.
    """
    if not tf.io.gfile.exists(path):
        raise ThawError(
            "is missing, although an earlier node has written weights there.",
            where=path,
            to_do="Delete the folder of that node's output, and run the same command again.",
        )
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, "weights.h5")
        tf.io.gfile.copy(path, local)
        model.load_weights(local)
