"""Which layers stay in floating point: the most error for the least computing time."""

from collections.abc import Mapping, Sequence
import math

from depth_anything_ros.convert.int8.layers import Layer


def predicted_error(errors: Mapping[str, float], kept_float: frozenset[str]) -> float:
    """
    Return the AbsRel to expect when all layers but ``kept_float`` are quantized.

    ``errors`` is the AbsRel of the model with that layer alone quantized. Rounding errors of
    different layers are independent, so their squares add up.
    """
    return math.sqrt(sum(error * error for node, error in errors.items()
                         if node not in kept_float))


def choose(layers: Sequence[Layer], errors: Mapping[str, float], kept_float: frozenset[str],
           allowed: float) -> frozenset[str]:
    """
    Return ``kept_float`` with as many more layers as bring the prediction down to ``allowed``.

    Those with the largest squared error for their number of operations come first; at least one
    is added while there is one left.
    """
    rest = sorted((layer for layer in layers if layer.node not in kept_float),
                  key=lambda layer: errors[layer.node] ** 2 / layer.operations, reverse=True)
    for layer in rest:
        kept_float |= {layer.node}
        if predicted_error(errors, kept_float) <= allowed:
            break
    return kept_float
