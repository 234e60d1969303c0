"""The layers of a model that run in INT8: their names, quantizers and cost."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino

_ATTENTION = 'ScaledDotProductAttention'
_PRODUCTS = ('MatMul', 'Convolution', 'ConvolutionBackpropData', _ATTENTION)
_MOVES = ('Reshape', 'Transpose', 'Squeeze', 'Unsqueeze', 'Split', 'VariadicSplit', 'Gather',
          'Slice')
FAKE_QUANTIZE = 'FakeQuantize'
# What dynamic instead of static INT8 costs, in parts of what floating point costs. Measured on the
# model of the package and two cores with VNNI: all its matrix products 2 of 30 ms, its last three
# convolutions and the first one 3 ms.
_DYNAMIC_COST = 0.05
# The products of a transformer block in the order of their execution: names and types.
_BLOCK = ('attn.qkv', 'attn', 'attn.proj', 'mlp.fc1', 'mlp.fc2')
_BLOCK_TYPES = ['MatMul', _ATTENTION, 'MatMul', 'MatMul', 'MatMul']


@dataclass(frozen=True)
class Layer:
    """
    A matrix product, convolution or attention that runs in INT8.

    ``node`` is its name in the IR; ``name`` is that of the checkpoint, or ``node`` where that is
    unknown. ``quantizers`` are the FakeQuantize nodes of its inputs, of a matrix product those of
    its activations alone, because its weights are in 8 bit in any case; ``cost`` is the time that
    it takes longer without them, as a number of multiplications.
    """

    node: str
    name: str
    quantizers: frozenset[str]
    cost: float


def quantized_layers(model: 'openvino.Model') -> list[Layer]:
    """Return the layers whose inputs pass a FakeQuantize node, in the order of execution."""
    layers, types = [], []
    reached = nodes_dependent_on_image(model)
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind in _PRODUCTS:
            found = [quantizer for value in node.input_values() for quantizer in _quantizers(value)
                     if kind != 'MatMul' or quantizer.get_name() in reached]
            quantizers = frozenset(quantizer.get_friendly_name() for quantizer in found)
            if quantizers:
                cost = _operations(node) * (_DYNAMIC_COST if kind == 'MatMul' else 1.0)
                layers.append(Layer(node.get_friendly_name(), _checkpoint_name(node), quantizers,
                                    cost))
                types.append(kind)
    return _name_transformer(layers, types)


def quantizer_nodes(model: 'openvino.Model') -> list[str]:
    """Return the names of all FakeQuantize nodes."""
    return [node.get_friendly_name() for node in model.get_ops()
            if node.get_type_name() == FAKE_QUANTIZE]


def without_quantizers(model: 'openvino.Model', quantizers: Iterable[str]) -> 'openvino.Model':
    """Return a copy without these FakeQuantize nodes."""
    copy, names = model.clone(), set(quantizers)
    for node in copy.get_ordered_ops():
        if node.get_type_name() == FAKE_QUANTIZE and node.get_friendly_name() in names:
            for target in list(node.output(0).get_target_inputs()):
                target.replace_source_output(node.input_value(0))
    return copy


def layers_independent_of_image(model: 'openvino.Model') -> list[str]:
    """Return the nodes of products that do not depend on the image, such as position tables."""
    reached = nodes_dependent_on_image(model)
    return [node.get_friendly_name() for node in model.get_ordered_ops()
            if node.get_type_name() in _PRODUCTS and node.get_name() not in reached]


def nodes_dependent_on_image(model: 'openvino.Model') -> set[str]:
    """Return the unique names of the nodes that depend on the image and not on its size alone."""
    reached: set[str] = set()
    pending = [model.input(0).get_node()]
    while pending:
        node = pending.pop()
        if node.get_name() in reached or node.get_type_name() == 'ShapeOf':
            continue
        reached.add(node.get_name())
        pending += [target.get_node() for output in node.outputs()
                    for target in output.get_target_inputs()]
    return reached


def _name_transformer(layers: list[Layer], types: list[str]) -> list[Layer]:
    """Name the products of transformer blocks by their positions; conversion loses the names."""
    positions = [index for index, kind in enumerate(types) if kind in ('MatMul', _ATTENTION)]
    if [types[index] for index in positions] != _BLOCK_TYPES * (
            len(positions) // len(_BLOCK_TYPES)):
        return layers
    named = list(layers)
    for number, index in enumerate(positions):
        block, part = divmod(number, len(_BLOCK))
        named[index] = replace(layers[index], name=f'pretrained.blocks.{block}.{_BLOCK[part]}')
    return named


def _quantizers(value: 'openvino.Output') -> list['openvino.Node']:
    node = value.get_node()
    while node.get_type_name() in _MOVES:
        node = node.input_value(0).get_node()
    return [node] if node.get_type_name() == FAKE_QUANTIZE else []


def _checkpoint_name(node: 'openvino.Node') -> str:
    """Return the name of the layer's weights or bias in the checkpoint, else the node's own."""
    inputs = [node.input_value(1)] if node.get_input_size() > 1 else []
    for target in node.output(0).get_target_inputs():
        if target.get_node().get_type_name() == 'Add':
            inputs += [value.get_source_output() for value in target.get_node().inputs()]
    for value in inputs:
        constant = value.get_node()
        while constant.get_type_name() in (
                FAKE_QUANTIZE, 'Convert', 'Multiply', 'Reshape', 'Transpose'):
            constant = constant.input_value(0).get_node()
        layer, _, kind = constant.get_friendly_name().partition('_compressed')[0].rpartition('.')
        if constant.get_type_name() == 'Constant' and kind in ('weight', 'bias'):
            return str(layer)
    return str(node.get_friendly_name())


def _operations(node: 'openvino.Node') -> float:
    """Return the number of multiplications of one inference, 1 where a dimension is dynamic."""
    shapes = [node.output(0).get_partial_shape(), node.input_value(1).get_partial_shape()]
    if any(shape.is_dynamic for shape in shapes):
        return 1.0
    output, second = ([int(side) for side in shape.to_shape()] for shape in shapes)
    kind = node.get_type_name()
    if kind == _ATTENTION:
        # Queries by keys; the product with the values stays in floating point.
        return float(math.prod(output) * second[-2])
    if kind == 'MatMul':
        shared = second[-1] if node.get_attributes().get('transpose_b') else second[-2]
        return float(math.prod(output) * shared)
    if kind == 'ConvolutionBackpropData':
        return float(math.prod(output) * second[0])
    return float(math.prod(output) * math.prod(second[1:]))
