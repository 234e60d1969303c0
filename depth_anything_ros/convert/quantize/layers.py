"""What an INT8 model quantizes: its layers by name, and a model with only some of them."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
import io
import logging
import math
import os
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import F32

if TYPE_CHECKING:
    import openvino

_ATTENTION = 'ScaledDotProductAttention'
_QUANTIZED = ('MatMul', 'Convolution', 'ConvolutionBackpropData', 'GroupConvolution', _ATTENTION)
_MOVES = ('Reshape', 'Transpose', 'Squeeze', 'Unsqueeze', 'Split', 'VariadicSplit', 'Gather',
          'Slice')
_FAKE = 'FakeQuantize'
# The products of one block in the order in which they are computed, and what they are.
_BLOCK = ('attn.qkv', 'attn', 'attn.proj', 'mlp.fc1', 'mlp.fc2')
_CONTEXT = ('qkv', 'attention', 'proj', 'fc1', 'fc2')
_BLOCK_KINDS = ['MatMul', _ATTENTION, 'MatMul', 'MatMul', 'MatMul']
# The same for the encoder of nano, whose first block has nothing to expand: there stands the stem.
_STEM = 'encoder.stem'
_INVERTED = ('expand', 'depthwise', 'project')
_INVERTED_KINDS = ['Convolution', 'GroupConvolution', 'Convolution']
SMOOTH_QUANT_ALPHA = 0.6
_METHOD = (f'NNCF {{}} preset, smooth quant {SMOOTH_QUANT_ALPHA}, ranges from minimum and '
           'maximum of all images, fast bias correction, resizing in floating point')


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
    return _name_filters(_name_blocks(layers, kinds), kinds)


def is_convolutional(model: 'openvino.Model') -> bool:
    """Return whether the network filters each channel by itself, as nano does and no ViT."""
    return any(node.get_type_name() == 'GroupConvolution' for node in model.get_ops())


def _name_blocks(layers: list[Layer], kinds: list[str]) -> list[Layer]:
    """Name the products of a transformer, whose names conversion loses, after their places."""
    places = [index for index, kind in enumerate(kinds) if kind in ('MatMul', _ATTENTION)]
    if [kinds[index] for index in places] != _BLOCK_KINDS * (len(places) // len(_BLOCK_KINDS)):
        return layers
    nano = 'GroupConvolution' in kinds
    named = list(layers)
    for number, index in enumerate(places):
        block, part = divmod(number, len(_BLOCK))
        name = f'head.context.{_CONTEXT[part]}' if nano else (
            f'pretrained.blocks.{block}.{_BLOCK[part]}')
        named[index] = replace(layers[index], name=name)
    return named


def _name_filters(layers: list[Layer], kinds: list[str]) -> list[Layer]:
    """Name the convolutions of nano's encoder, which the folded scale has left without names."""
    places = [index for index, layer in enumerate(layers)
              if kinds[index] in _INVERTED_KINDS and layer.name == layer.node]
    blocks = kinds.count('GroupConvolution')
    if [kinds[index] for index in places] != _INVERTED_KINDS * blocks:
        return layers
    named = list(layers)
    for number, index in enumerate(places):
        block, part = divmod(number, len(_INVERTED))
        name = f'encoder.blocks.{block}.{_INVERTED[part]}' if number else _STEM
        named[index] = replace(layers[index], name=name)
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
    if kind == _ATTENTION:
        # Queries by keys; the product with the values stays in floating point.
        return float(math.prod(output) * second[-2])
    if kind == 'MatMul':
        shared = second[-1] if node.get_attributes().get('transpose_b') else second[-2]
        return float(math.prod(output) * shared)
    if kind == 'ConvolutionBackpropData':
        return float(math.prod(output) * second[0])
    return float(math.prod(output) * math.prod(second[1:]))


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


def method(model: 'openvino.Model') -> str:
    """Return the settings that ``quantize_model`` takes for a model, in words."""
    return _METHOD.format('performance' if is_convolutional(model) else 'transformer')


def quantize_model(model: 'openvino.Model', images: Sequence[F32], kept_float: Iterable[str] = (),
                   compress: bool = True) -> 'openvino.Model':
    """
    Return ``model`` in INT8, with ranges from ``images`` [1, 3, H, W] of its own fixed size.

    ``kept_float`` are nodes that stay in floating point. Without ``compress`` the weights stay in
    f32 behind FakeQuantize nodes, so that single layers can be switched off.

    The encoder's rare, huge activations carry the depth: ranges that clip them (the preset's mean
    over images, histograms) cost several times the error of minimum and maximum. A convolutional
    network has symmetric ranges, which lose hardly more there and are faster.
    """
    # Otherwise NNCF reports its use to its makers.
    os.environ.setdefault('NNCF_CI', '1')
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    parameters = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=SMOOTH_QUANT_ALPHA),
        backend_params={'compress_weights': compress})
    ignored = nncf.IgnoredScope(names=[*beside_the_image(model), *kept_float],
                                types=['Interpolate'], validate=False)
    # NNCF draws bars of its own across the caller's report.
    with redirect_stdout(io.StringIO()):
        return nncf.quantize(
            model, nncf.Dataset(list(images)), subset_size=len(images), ignored_scope=ignored,
            model_type=None if is_convolutional(model) else nncf.ModelType.TRANSFORMER,
            advanced_parameters=parameters)
