"""How many operations and bytes a layer takes, from the shapes of what it reads and writes."""

from collections.abc import Sequence
import math
from typing import Any, TYPE_CHECKING

from depth_anything_ros.tools.benchmarking.runtime_nodes import Node, Operand, Shape

if TYPE_CHECKING:
    import openvino as ov

ATTENTION_KINDS = frozenset({'MatMul', 'ScaledDotProductAttention'})
PRODUCT_KINDS = frozenset({'FullyConnected', 'MatMul'})
_COUNTED_OPERATIONS = ATTENTION_KINDS | {
    'Convolution', 'ConvolutionBackpropData', 'GroupConvolution'}


def is_fused_attention(node: Node) -> bool:
    """Return whether products and softmax of one block's attention became this one layer."""
    if node.kind == 'ScaledDotProductAttention':
        return True
    return node.kind == 'Subgraph' and bool(node.origins & ATTENTION_KINDS)


def node_flop(node: Node) -> float:
    """
    Return the multiplications and additions of products, convolutions and attention.

    Other layers count as none: what they take is memory.
    """
    if is_fused_attention(node):
        return _attention_flop(node)
    if node.kind in PRODUCT_KINDS:
        return _product_flop(node.inputs[0], node.inputs[1], node.outputs[0])
    if node.kind == 'Convolution':
        return 2.0 * node.outputs[0].elements * _taps(node.inputs[1].shape, node.outputs[0].shape)
    if node.kind == 'Deconvolution':
        return 2.0 * node.inputs[0].elements * _taps(node.inputs[1].shape, node.outputs[0].shape)
    return 0.0


def node_bytes(node: Node) -> float:
    """Return the bytes that a layer has to read and write, each once."""
    return sum(operand.size_bytes for operand in (*node.inputs, *node.outputs))


def graph_flop(graph: 'ov.Model') -> float:
    """
    Return the same of a whole static model, counted from its own operations.

    What depends on no input is left out: it is computed once, when the model is compiled.
    """
    changing: set[str] = set()
    total = 0.0
    for op in graph.get_ordered_ops():
        name, kind = op.get_friendly_name(), op.get_type_name()
        sources = [value.get_node().get_friendly_name() for value in op.input_values()]
        if kind == 'Parameter' or kind != 'ShapeOf' and not changing.isdisjoint(sources):
            changing.add(name)
            total += _operation_flop(op, kind) if kind in _COUNTED_OPERATIONS else 0.0
    return total


def _operation_flop(op: Any, kind: str) -> float:
    shapes: list[Shape] = [tuple(value.get_shape()) for value in op.input_values()]
    out: int = math.prod(op.output(0).get_shape())
    if kind == 'MatMul':
        return 2.0 * out * shapes[0][-2 if op.get_attributes()['transpose_a'] else -1]
    if kind == 'Convolution':
        return 2.0 * out * math.prod(shapes[1][1:])
    if kind == 'GroupConvolution':
        return 2.0 * out * math.prod(shapes[1][2:])
    if kind == 'ConvolutionBackpropData':
        return 2.0 * math.prod(shapes[0]) * math.prod(shapes[1][1:])
    return 2.0 * shapes[1][-2] * (math.prod(shapes[0]) + out)


def _attention_flop(node: Node) -> float:
    """
    Return the cost of softmax(q k) v, the softmax not counted.

    Heads and tokens come in either order, depending on which transposition was fused as well; an
    image always has more tokens than there are heads.
    """
    out = node.outputs[0].shape
    tokens = max(out[-3:-1])
    query = max(node.activations, key=lambda operand: len(operand.shape))
    return 2.0 * tokens * (query.elements + math.prod(out))


def _product_flop(first: Operand, second: Operand, out: Operand) -> float:
    """Return 2 M N K, whichever operand is transposed: (M K)(K N)(M N) = (M N K)^2."""
    batch = math.prod(out.shape[:-2]) if len(second.shape) > 2 else 1
    return 2.0 * math.sqrt(first.elements * second.elements * out.elements / max(batch, 1))


def _taps(weights: Sequence[int], out: Shape) -> int:
    """Return the products per value; weights of a grouped convolution have one axis more."""
    return math.prod(weights[len(weights) - len(out) + 1:])
