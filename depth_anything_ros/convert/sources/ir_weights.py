"""
The weights of a network, read from its IR where there is no checkpoint.

In an IR most tensors have lost their names, and normalisation and LayerScale are folded into other
layers. The graph, also one in INT8, is read from its output back to the image. LayerScale is found
where it is a factor behind a layer, and is 1 where it is not. What was read is proven: the network
computes the depth of the IR.
"""

from dataclasses import dataclass, replace
from pathlib import Path
import tempfile
from typing import Any, TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.convert.parity.measure import measure
from depth_anything_ros.convert.parity.runners import ir_runner, torch_runner
from depth_anything_ros.convert.quantize.layers import (
    FAKE_QUANTIZE, nodes_dependent_on_image, without_quantizers)
from depth_anything_ros.convert.sources.graphs import Graph, read_graph
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.depth_anything import DepthAnything
from depth_anything_ros.networks.models import EncoderSpec, find_encoder, GRID, MODELS
from depth_anything_ros.networks.vit import LayerScale, Mlp
import numpy as np
import torch
from torch import nn, Tensor

if TYPE_CHECKING:
    import openvino

_PRODUCTS = ('MatMul', 'Convolution', 'ConvolutionBackpropData')
# Where the way back from a layer to the previous one ends.
_ENDS = ('Add', 'MVN', 'Concat', 'Parameter')
_UNARY = ('Convert', 'Broadcast')
_BINARY = {'Multiply': np.multiply, 'Subtract': np.subtract, 'Add': np.add}


@dataclass(frozen=True)
class Layer:
    """
    The tensors of one layer in an IR; ``name`` is that of its weight.

    The weight of a matrix product is [outputs, inputs]; ``bias`` and ``scale``, a factor [outputs]
    before the bias, are None where there is none. ``source`` is the node that gives its input.
    """

    name: str
    weight: F32
    bias: F32 | None
    scale: F32 | None = None
    source: Any = None


def read_ir_weights(path: Path, table: tuple[EncoderSpec, ...] = MODELS) -> dict[str, Tensor]:
    """
    Return the state dict of the network in an IR that this package wrote.

    Those of an IR in INT8 are the ones that the 8 bits stand for. CheckpointError if it has no
    metadata, a fixed size or another form, or if a network with these weights computes another
    depth; ModelError if it is missing or damaged. ``table`` is searched before ``MODELS``.
    """
    graph = read_graph(path)
    try:
        network, model = _read(graph, table)
    except ValueError as error:
        raise _unusable(path, str(error)) from error
    with tempfile.TemporaryDirectory() as folder:
        compared = path
        if model is not graph.model:
            import openvino

            compared = Path(folder) / path.name
            openvino.save_model(model, compared, compress_to_fp16=False)
        # In INT8 what interpolates the positions is rounded to 16 bits.
        row, = measure(torch_runner(network), [ir_runner(compared)],
                       'fp16' if graph.precision == 'int8' else 'fp32', network.input_spec,
                       [network.input_spec.card_size_hw]).rows
    if not row.passed:
        raise _unusable(path, 'the weights found in it compute another depth')
    return network.state_dict()


def _read(graph: Graph, table: tuple[EncoderSpec, ...]) -> tuple[DepthAnything, 'openvino.Model']:
    """Return the network and the graph that computes the same; ValueError says why not."""
    info = graph.info
    if info is None:
        raise ValueError('it has no metadata that say which network it is')
    if graph.size_hw is not None:
        height, width = graph.size_hw
        raise ValueError(f'its input size is fixed to {width}x{height}, so its table of positions '
                         'is lost')
    network = DepthAnything(find_encoder(info.encoder, (*table, *MODELS)), info.model_version,
                            info.max_depth_m).eval().requires_grad_(False)
    for value in network.parameters():
        # What the graph does not use, such as the mask token, stays 0.
        nn.init.zeros_(value)
    reached = nodes_dependent_on_image(graph.model)
    quantizers = [node.get_friendly_name() for node in graph.model.get_ops()
                  if node.get_type_name() == FAKE_QUANTIZE and node.get_name() in reached]
    model = without_quantizers(graph.model, quantizers) if quantizers else graph.model
    _TransformerReader(model, network).read()
    return network, model


def _unusable(path: Path, fact: str) -> CheckpointError:
    return CheckpointError(path, fact, 'give an IR that depth_anything_convert or a distillation '
                           'wrote, or a .pth')


class _TransformerReader:
    """
    Reads a vision transformer and its DPT head from the output back to the image.

    Methods that fill a part start at a node behind it and return the node before it.
    """

    def __init__(self, model: 'openvino.Model', network: DepthAnything) -> None:
        self._reached = nodes_dependent_on_image(model)
        self._output = model.output(0).get_node().input_value(0).get_node()
        self._network = network

    def read(self) -> None:
        """Fill all weights of the network."""
        head, norm = self._network.depth_head, self._network.pretrained.norm
        path = self._output
        for part in (head.scratch.output_conv2[2], head.scratch.output_conv2[0],
                     head.scratch.output_conv1):
            path = self._layer_into(path, part)
        for index, (project, resize) in enumerate(zip(head.projects, head.resize_layers)):
            fusion = getattr(head.scratch, f'refinenet{index + 1}')
            path = self._layer_into(path, fusion.out_conv)
            skip = path = self._residual_into(path, fusion.resConfUnit2)
            if index + 1 < len(head.projects):
                path, skip = self._operands(path)
                if self._layer(path) is None:
                    path, skip = skip, path
                skip = self._residual_into(skip, fusion.resConfUnit1)
            node = self._layer_into(skip, getattr(head.scratch, f'layer{index + 1}_rn'))
            if not isinstance(resize, nn.Identity):
                node = self._layer_into(node, resize)
            tokens = self._norm_into(self._layer_into(node, project), norm)
        self._encoder_into(tokens)

    def _encoder_into(self, tokens: Any) -> None:
        encoder = self._network.pretrained
        for block in reversed(encoder.blocks):
            ends = ((block.mlp.fc2, block.mlp.fc1) if isinstance(block.mlp, Mlp)
                    else (block.mlp.w3, block.mlp.w12))
            tokens = self._branch_into(tokens, ends, block.ls2, block.norm2)
            ends = block.attn.proj, block.attn.qkv
            tokens = self._branch_into(tokens, ends, block.ls1, block.norm1)
        joined, positions = self._sorted_inputs(tokens, 'Add')
        patches, class_token = self._sorted_inputs(joined.get_node(), 'Concat')
        self._layer_into(patches.get_node(), encoder.patch_embed.proj)
        _copy_values(encoder.cls_token, _value(class_token)[:1], 'the class token')
        if positions.get_node().get_type_name() != 'Concat':
            raise ValueError('it has no table of positions')
        first, grid = positions.get_node().input_values()
        rows = self._table(grid.get_node(), encoder.pos_embed.shape[-1])
        _copy_values(encoder.pos_embed, np.concatenate([_value(first)[:1], rows], axis=1),
                     'the table of positions')

    def _branch_into(self, node: Any, ends: tuple[nn.Linear, nn.Linear], factor: LayerScale,
                     norm: nn.LayerNorm) -> Any:
        """Fill last and first layer of a branch, its factor and norm; return the tokens before."""
        inner, tokens = self._operands(node)
        if self._layer(inner) is None:
            inner, tokens = tokens, inner
        last = self._need(inner)
        if last.scale is not None and last.bias is not None and last.scale.all():
            _copy_values(factor.gamma, last.scale, last.name)
            last = replace(last, bias=last.bias / last.scale, scale=None)
        else:
            nn.init.ones_(factor.gamma)
        _copy(_unscaled(last), ends[0])
        source = self._norm_into(self._layer_into(last.source, ends[1]), norm)
        if source.get_name() != tokens.get_name():
            raise ValueError(f'the branch at {last.name} does not begin with the tokens')
        return tokens

    def _residual_into(self, node: Any, unit: nn.Module) -> Any:
        """Fill two convolutions around which their input is added; return that input."""
        pair = self._operands(self._before(node))
        for inner, outer in (pair, pair[::-1]):
            last = self._layer(inner)
            first = last and self._layer(self._before(last.source))
            if last and first and self._before(first.source).get_name() == outer.get_name():
                _copy(_unscaled(last), unit.get_submodule('conv2'))
                _copy(_unscaled(first), unit.get_submodule('conv1'))
                return outer
        raise ValueError(f'it has no residual unit at {node.get_friendly_name()}')

    def _layer_into(self, node: Any, part: nn.Module) -> Any:
        layer = self._need(self._before(node))
        _copy(_unscaled(layer), part)
        return layer.source

    def _norm_into(self, node: Any, part: nn.LayerNorm) -> Any:
        node = self._before(node)
        core, scale, bias = self._affine(node)
        if core.get_type_name() != 'MVN' or scale is None or bias is None:
            raise ValueError(f'it has no layer normalisation at {node.get_friendly_name()}')
        _copy(Layer(node.get_friendly_name(), _value(scale), _value(bias)), part)
        return core.input_value(0).get_node()

    def _before(self, node: Any) -> Any:
        """Return the node itself or, going back, the first that is a layer or joins two paths."""
        while self._layer(node) is None and node.get_type_name() not in _ENDS:
            node = self._reached_inputs(node)[0].get_node()
        return node

    def _need(self, node: Any) -> Layer:
        layer = self._layer(node)
        if layer is None:
            raise ValueError(f'it has no layer with weights at {node.get_friendly_name()}')
        return layer

    def _layer(self, node: Any) -> Layer | None:
        """Return the layer that ends at a node, None where none does."""
        core, scale, bias = self._affine(node)
        if core.get_type_name() not in _PRODUCTS or not _is_constant(core.input_value(1)):
            return None
        return _product(core, scale, bias)

    def _affine(self, node: Any) -> tuple[Any, Any, Any]:
        """Return the node before a factor and an offset that are constant, and these two."""
        found = {}
        for kind in ('Add', 'Multiply'):
            inputs = self._reached_inputs(node)
            if node.get_type_name() == kind and len(inputs) == 1:
                found[kind] = next(one for one in node.input_values() if one != inputs[0])
                node = inputs[0].get_node()
        return node, found.get('Multiply'), found.get('Add')

    def _operands(self, node: Any) -> tuple[Any, Any]:
        inputs = self._reached_inputs(node)
        if node.get_type_name() != 'Add' or len(inputs) != 2:
            raise ValueError(f'it has no sum of two paths at {node.get_friendly_name()}')
        return inputs[0].get_node(), inputs[1].get_node()

    def _sorted_inputs(self, node: Any, kind: str) -> tuple[Any, Any]:
        """Return the input that depends on the image and the one that does not."""
        inputs, reached = node.input_values(), self._reached_inputs(node)
        if node.get_type_name() != kind or (len(inputs), len(reached)) != (2, 1):
            raise ValueError(f'it has more blocks, or no {kind} at {node.get_friendly_name()}')
        return reached[0], next(one for one in inputs if one != reached[0])

    def _reached_inputs(self, node: Any) -> list[Any]:
        return [one for one in node.input_values() if one.get_node().get_name() in self._reached]

    def _table(self, node: Any, width: int) -> F32:
        """Return the grid of positions [1, 37 * 37, width], a weight somewhere before a node."""
        pending = [node]
        while pending:
            node = pending.pop()
            if node.get_type_name() == 'MatMul' and _is_constant(node.input_value(1)):
                grid = _product(node).weight
                if grid.size == GRID * GRID * width:
                    return np.ascontiguousarray(grid.T).reshape(1, GRID * GRID, width)
            pending += [value.get_node() for value in node.input_values()]
        raise ValueError('it has no table of positions')


def _product(node: Any, scale: Any = None, bias: Any = None) -> Layer:
    """Return a product with its constant factor and offset, and a factor of its input folded."""
    weight, source = _value(node.input_value(1)), node.input_value(0).get_node()
    if node.get_attributes().get('transpose_b') is False:
        weight = np.swapaxes(weight, -1, -2)
    if node.get_type_name() == 'MatMul' and source.get_type_name() == 'Multiply':
        before, factor = source.input_values()
        # The factor of a layer normalisation is its own; this one is of SmoothQuant.
        if _is_constant(factor) and before.get_node().get_type_name() != 'MVN':
            weight, source = weight * _value(factor).reshape(-1), before.get_node()
    return Layer(node.get_friendly_name(), weight, None if bias is None else _value(bias),
                 None if scale is None else _value(scale).reshape(-1), source)


def _unscaled(layer: Layer) -> Layer:
    """Return a layer with its factor folded into its weight."""
    if layer.scale is None:
        return layer
    shape = -1, *[1] * (layer.weight.ndim - 1)
    return replace(layer, weight=layer.weight * layer.scale.reshape(shape), scale=None)


def _is_constant(value: Any) -> bool:
    node = value.get_node()
    kind = node.get_type_name()
    if kind in _UNARY or kind in ('Reshape', 'Transpose'):
        return _is_constant(node.input_value(0))
    return kind == 'Constant' or kind in _BINARY and all(map(_is_constant, node.input_values()))


def _value(value: Any) -> F32:
    """Return the value of a constant, or of constants with 8 bits and what scales them."""
    node = value.get_node()
    kind = node.get_type_name()
    if kind == 'Constant':
        return node.data.astype(np.float32)
    if not _is_constant(value):
        raise ValueError(f'{node.get_friendly_name()} is no constant')
    first, *others = map(_value, node.input_values()[:1] if kind in _UNARY
                         else node.input_values())
    if kind in ('Reshape', 'Transpose'):
        target = others[0].astype(int)
        return first.reshape(target) if kind == 'Reshape' else first.transpose(target)
    return first if kind in _UNARY else _BINARY[kind](first, others[0])


def _copy(layer: Layer, part: nn.Module) -> None:
    """Copy weight and bias; a layer without a bias has 0."""
    for name, tensor in part.named_parameters(recurse=False):
        if name == 'weight':
            _copy_values(tensor, layer.weight, f'the weight at {layer.name}')
        elif name == 'bias' and layer.bias is not None:
            _copy_values(tensor, layer.bias, f'the bias at {layer.name}')


def _copy_values(tensor: Tensor, values: F32, name: str) -> None:
    if tensor.numel() != values.size:
        raise ValueError(f'{name} is {list(values.shape)} instead of {list(tensor.shape)}')
    tensor.copy_(torch.from_numpy(values.reshape(tuple(tensor.shape))))
