"""
The weights of a nano student, read from its IR where there is no checkpoint.

In an IR, normalisation is folded into the convolutions and most tensors have lost their names. But
layers of one type are in the order of the forward pass, and the convolutions of the head, which
has branches, have kept their names.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.convert.parity.measure import measure
from depth_anything_ros.convert.parity.runners import ir_runner, torch_runner
from depth_anything_ros.convert.sources.graphs import read_graph
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.efficientnet_lite import NormalizedConv
from depth_anything_ros.networks.models import NANO
from depth_anything_ros.networks.nano import NanoDepth
import numpy as np
import torch
from torch import nn, Tensor

if TYPE_CHECKING:
    import openvino

_COMPARED_AT_HW = (192, 256)


@dataclass(frozen=True)
class Layer:
    """The tensors of one layer in an IR; ``name`` is that of its weight."""

    name: str
    weight: F32
    bias: F32


def read_nano_ir(path: Path) -> dict[str, Tensor]:
    """
    Return the state dict of ``NanoDepth`` with the weights of an IR in fp16 or fp32.

    CheckpointError if it holds another network or another precision, or if a network with these
    weights computes another depth than the IR. ModelError if the IR is missing or damaged.
    """
    graph = read_graph(path)
    if graph.info is None or graph.info.encoder != NANO.name:
        raise _unusable(path, 'its metadata does not describe a nano student')
    if graph.precision == 'int8':
        raise _unusable(path, 'its weights are int8')
    network = NanoDepth().eval().requires_grad_(False)
    try:
        _fill(network, graph.model)
    except ValueError as error:
        raise _unusable(path, str(error)) from error
    row, = measure(torch_runner(network), [ir_runner(path)], 'fp32', network.input_spec,
                   [_COMPARED_AT_HW]).rows
    if not row.passed:
        raise _unusable(path, 'the weights found in it compute another depth')
    return network.state_dict()


def _unusable(path: Path, fact: str) -> CheckpointError:
    return CheckpointError(path, fact, 'give a nano IR in fp16 or fp32, or the .pth that a '
                           'distillation wrote')


def _fill(network: NanoDepth, model: 'openvino.Model') -> None:
    """Copy the weights of every layer; ValueError if the layers are not those of the network."""
    named = {f'{name}.weight': part for name, part in network.named_modules()
             if isinstance(part, nn.Conv2d)}
    encoder = []
    for layer in _layers(model, ('Convolution', 'GroupConvolution')):
        if layer.name in named:
            _copy(layer, named.pop(layer.name))
        else:
            encoder.append(layer)
    if named:
        raise ValueError(f'it has no convolution called {min(named)}')
    _copy_all(encoder, network, NormalizedConv)
    _copy_all(list(_layers(model, ('MatMul',))), network, nn.Linear)
    _copy_all(list(_layers(model, ('MVN',))), network, nn.LayerNorm)


def _copy_all(layers: list[Layer], network: NanoDepth, kind: type[nn.Module]) -> None:
    parts = [part for part in network.modules() if isinstance(part, kind)]
    if len(parts) != len(layers):
        raise ValueError(f'it has {len(layers)} layers like {kind.__name__} instead of '
                         f'{len(parts)}')
    for layer, part in zip(layers, parts):
        _copy(layer, part)


def _copy(layer: Layer, part: nn.Module) -> None:
    for name, values in (('weight', layer.weight), ('bias', layer.bias)):
        tensor = part.get_parameter(name)
        if tensor.numel() != values.size:
            raise ValueError(f'the {name} at {layer.name} is {list(values.shape)} instead of '
                             f'{list(tensor.shape)}')
        tensor.copy_(torch.from_numpy(values.reshape(tuple(tensor.shape))))
    if isinstance(part, NormalizedConv):
        nn.init.ones_(part.scale)


def _layers(model: 'openvino.Model', types: tuple[str, ...]) -> Iterator[Layer]:
    """Yield the operations of these types that have weights, in the order of the forward pass."""
    for node in model.get_ordered_ops():
        if node.get_type_name() not in types:
            continue
        # The weight of a layer normalisation follows it, that of others is their second input.
        product = _follower(node, 'Multiply') if node.get_type_name() == 'MVN' else node
        total = product and _follower(product, 'Add')
        weight = product and _constant(product)
        bias = total and _constant(total)
        if weight and bias:
            name, values = weight
            if node.get_attributes().get('transpose_b') is False:
                values = values.T
            yield Layer(name, values, bias[1])


def _follower(node: Any, type_name: str) -> Any:
    """Return the only operation that uses the node's output, None if its type is another one."""
    users = [user.get_node() for user in node.output(0).get_target_inputs()]
    return users[0] if len(users) == 1 and users[0].get_type_name() == type_name else None


def _constant(node: Any) -> tuple[str, F32] | None:
    """Return name and values of the constant among the node's inputs, None without one."""
    for value in node.input_values():
        source = value.get_node()
        if source.get_type_name() == 'Convert':
            source = source.input_value(0).get_node()
        if source.get_type_name() == 'Constant':
            name = source.get_friendly_name().removesuffix('_compressed')
            return name, source.data.astype(np.float32)
    return None
