"""In what precision layers compute. Weights are float32 always."""

from collections.abc import Iterator
from contextlib import contextmanager

import tf_keras as keras

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextmanager
def layers_compute_in(precision: str) -> Iterator[None]:
    """Gives the layers that are built inside Keras's policy for a precision.

    Under `float16` Keras's `compile` scales the loss, so that small gradients do not
    vanish; bfloat16 has float32's range and needs none of it. Outside, and for a model
    that is exported, float32 holds.

    Args:
      precision: `float32`, `bfloat16` or `float16`.
    """
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(_POLICIES[precision])
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
