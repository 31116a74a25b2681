"""How a fit is spread over devices and machines."""

import tensorflow as tf
import tf_keras as keras


def make_strategy() -> tf.distribute.Strategy:
    """The one strategy of both fits, from laptop to cluster.

    Without `TF_CONFIG` it is a single worker with all its local devices. Call it before
    any other TensorFlow operation of the process.
    """
    return tf.distribute.MultiWorkerMirroredStrategy()


def make_deterministic(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow, and refuses operations whose result varies."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
