"""What an INT8 model quantizes: its layers by name, and a model with only some of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino

_QUANTIZED = ('MatMul', 'Convolution', 'ConvolutionBackpropData', 'GroupConvolution',
              'ScaledDotProductAttention')
_MOVES = ('Reshape', 'Transpose', 'Squeeze', 'Unsqueeze', 'Split', 'VariadicSplit', 'Gather',
          'Slice')
_FAKE = 'FakeQuantize'
_ATTENTION = 'attn'
# The products of one block in the order in which they are computed.
_BLOCK = ('attn.qkv', _ATTENTION, 'attn.proj', 'mlp.fc1', 'mlp.fc2')


@dataclass(frozen=True)
class Layer:
    """
    A matrix product, convolution or attention that runs in INT8.

    ``node`` is the name in the IR and ``name`` the one in the checkpoint, where it can be told.
    ``quantizers`` are the nodes that round its inputs; ``operations`` counts multiplications.
    """

    node: str
    name: str
    quantizers: frozenset[str]
    operations: float


def quantized_layers(model: 'openvino.Model') -> list[Layer]:
    """Return the layers of a model, in order, whose inputs pass a FakeQuantize."""
    layers, kinds = [], []
    for node in model.get_ordered_ops():
        if node.get_type_name() in _QUANTIZED:
            quantizers = frozenset(name for index in range(node.get_input_size())
                                   for name in _quantizers(node.input_value(index)))
            if quantizers:
                layers.append(Layer(node.get_friendly_name(), _readable(node), quantizers,
                                    _operations(node)))
                kinds.append(node.get_type_name())
    return _name_blocks(layers, kinds)


def _name_blocks(layers: list[Layer], kinds: list[str]) -> list[Layer]:
    """Name the products of a transformer, whose names conversion loses, after their places."""
    places = [index for index, kind in enumerate(kinds)
              if kind in ('MatMul', 'ScaledDotProductAttention')]
    expected = ['MatMul' if part != _ATTENTION else 'ScaledDotProductAttention'
                for part in _BLOCK] * (len(places) // len(_BLOCK))
    if [kinds[index] for index in places] != expected:
        return layers
    named = list(layers)
    for number, index in enumerate(places):
        block, part = divmod(number, len(_BLOCK))
        named[index] = replace(layers[index], name=f'pretrained.blocks.{block}.{_BLOCK[part]}')
    return named


def without(model: 'openvino.Model', quantizers: Iterable[str]) -> 'openvino.Model':
    """Return a copy in which these FakeQuantize nodes let everything pass."""
    copy, names = model.clone(), set(quantizers)
    for node in copy.get_ordered_ops():
        if node.get_type_name() == _FAKE and node.get_friendly_name() in names:
            for target in list(node.output(0).get_target_inputs()):
                target.replace_source_output(node.input_value(0))
    return copy


def beside_the_image(model: 'openvino.Model') -> list[str]:
    """Return the products that do not depend on the image's values, such as position tables."""
    reached, waiting = set(), [model.input(0).get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() in reached or node.get_type_name() == 'ShapeOf':
            continue
        reached.add(node.get_friendly_name())
        waiting += [target.get_node() for output in node.outputs()
                    for target in output.get_target_inputs()]
    return [node.get_friendly_name() for node in model.get_ordered_ops()
            if node.get_type_name() in _QUANTIZED and node.get_friendly_name() not in reached]


def _quantizers(value: 'openvino.Output') -> list[str]:
    node = value.get_node()
    while node.get_type_name() in _MOVES:
        node = node.input_value(0).get_node()
    return [node.get_friendly_name()] if node.get_type_name() == _FAKE else []


def _readable(node: 'openvino.Node') -> str:
    """Return the name of the layer's weights or bias in the checkpoint, else the node's own."""
    inputs = [node.input_value(1)] if node.get_input_size() > 1 else []
    for target in node.output(0).get_target_inputs():
        if target.get_node().get_type_name() == 'Add':
            inputs += [one.get_source_output() for one in target.get_node().inputs()]
    for value in inputs:
        constant = value.get_node()
        while constant.get_type_name() in (_FAKE, 'Convert', 'Multiply', 'Reshape', 'Transpose'):
            constant = constant.input_value(0).get_node()
        layer, _, kind = constant.get_friendly_name().partition('_compressed')[0].rpartition('.')
        if constant.get_type_name() == 'Constant' and kind in ('weight', 'bias'):
            return str(layer)
    return str(node.get_friendly_name())


def _operations(node: 'openvino.Node') -> float:
    """Return the multiplications of one inference, 1 where a size is open."""
    shapes = [node.output(0).get_partial_shape(), node.input_value(1).get_partial_shape()]
    if any(shape.is_dynamic for shape in shapes):
        return 1.0
    output, second = ([int(side) for side in shape.to_shape()] for shape in shapes)
    kind = node.get_type_name()
    if kind == 'ScaledDotProductAttention':
        # Queries by keys; the product with the values stays in floating point.
        return float(math.prod(output) * second[-2])
    if kind == 'MatMul':
        shared = second[-1] if node.get_attributes().get('transpose_b') else second[-2]
        return float(math.prod(output) * shared)
    if kind == 'ConvolutionBackpropData':
        return float(math.prod(output) * second[0])
    return float(math.prod(output) * math.prod(second[1:]))
