"""Calls a function of a graph only where it is needed, at no cost elsewhere.

`tf.cond` is lowered: the executor then passes every operation of the branches that were
not chosen, too. Most files need none of what follows a header that is out of the ordinary,
some thousand operations; as functions of their own they cost one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Function = Any
"""What `tf.function` makes, with an input signature; it captures nothing."""


def function_of(*kinds: tuple[Sequence[int | None], tf.DType]) -> Callable[..., Function]:
    """Decorates a function of tensors of these shapes and types."""
    signature = [tf.TensorSpec(shape, dtype) for shape, dtype in kinds]
    return tf.function(input_signature=signature, autograph=False)


of_bytes = function_of(((), tf.string))
"""Decorates a function of one string scalar."""


def call_one(index: tf.Tensor, functions: Sequence[Function], *inputs: tf.Tensor) -> Any:
    """Calls one of several functions, which stay functions in the graph.

    Args:
      index: int32 scalar.
      functions: that return tensors of the same types and ranks, in the same structure.
      inputs: of the function.

    Returns:
      What the chosen one returns.
    """
    if tf.executing_eagerly():  # where nested operations of this kind wait for each other
        return functions[int(index)](*inputs)
    with tf.init_scope():  # traced once, whatever graph is being built
        concrete = [function.get_concrete_function() for function in functions]
    outputs = tf.raw_ops.Case(
        branch_index=index,
        input=inputs,
        Tout=[output.dtype for output in concrete[0].outputs],
        branches=concrete,
    )
    for output, *made in zip(outputs, *(one.outputs for one in concrete), strict=True):
        shapes = {tuple(one.shape) for one in made}
        output.set_shape(made[0].shape if len(shapes) == 1 else [None] * made[0].shape.rank)
    return tf.nest.pack_sequence_as(concrete[0].structured_outputs, outputs)


def call(function: Function, *inputs: tf.Tensor) -> Any:
    """Calls a function, which stays one in the graph."""
    return call_one(tf.constant(0), [function], *inputs)


def call_if(
    condition: tf.Tensor, function: Function, *inputs: tf.Tensor, otherwise: Callable[[], Any]
) -> Any:
    """Calls a function, if a bool scalar says so; or takes what `otherwise` returns."""
    return tf.cond(condition, lambda: call(function, *inputs), otherwise)
