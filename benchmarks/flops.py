"""Counts the floating-point operations that a network must do."""

import math
from typing import Any

import tf_keras as keras


def count_flops(model: keras.Model) -> int:
    """Operations of one forward pass over one image: those of matrix products alone.

    A multiplication and an addition count as two. Normalisation, activation and pooling
    are left out: under 1 % of InceptionV3, and not what the cores' rate is measured by.
    """
    return sum(_layer_flops(layer) for layer in model.layers)


def _layer_flops(layer: Any) -> int:
    if isinstance(layer, keras.Model):
        return count_flops(layer)
    if isinstance(layer, keras.layers.Dense):
        return 2 * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return 2 * math.prod(layer.depthwise_kernel.shape) * _positions(layer)
    if isinstance(layer, keras.layers.SeparableConv2D):
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
        return sum(2 * math.prod(kernel.shape) for kernel in kernels) * _positions(layer)
    if isinstance(layer, keras.layers.Conv2D):
        return 2 * math.prod(layer.kernel.shape) * _positions(layer)
    return 0


def _positions(layer: keras.layers.Layer) -> int:
    """Places that a kernel is put at: height × width of what the layer makes."""
    return math.prod(layer.output_shape[1:3])
