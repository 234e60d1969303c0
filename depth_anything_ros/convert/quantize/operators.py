"""
The operators of an OpenVINO model in PyTorch: those that networks of this family consist of.

Each maps a node and its inputs to its output, or to a tuple where the node has several.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from depth_anything_ros.convert.quantize.layers import FAKE_QUANTIZE
import torch
from torch import Tensor
from torch.nn import functional

Operator: TypeAlias = Callable[..., 'Tensor | Sequence[Tensor]']


class UntrainableError(ValueError):
    """A model has an operator, named by the message, that is not among these."""


class StraightThrough(torch.autograd.Function):
    """
    Rounds values to ``levels`` steps between two bounds; the gradient ignores the rounding.

    Values outside the bounds are clipped and get no gradient. Source: Bengio et al., Estimating or
    Propagating Gradients Through Stochastic Neurons (2013).
    """

    @staticmethod
    def forward(context: Any, values: Tensor, low: Tensor, high: Tensor, out_low: Tensor,
                out_high: Tensor, levels: int) -> Tensor:
        """Return the rounded values; the bounds broadcast against ``values``."""
        context.save_for_backward((values >= low) & (values <= high))
        steps = levels - 1
        # A constant activation has an empty range.
        share = (values.clamp(low, high) - low) / (high - low).clamp(min=1e-30)
        return (share * steps).round() / steps * (out_high - out_low) + out_low

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        """Return the gradient of the values inside the bounds."""
        inside, = context.saved_tensors
        return gradients[0] * inside, None, None, None, None, None


def fake_quantize(node: Any, values: Tensor, *bounds: Tensor) -> Tensor:
    """Return values rounded as a FakeQuantize node rounds them."""
    levels = node.get_attributes()['levels']
    result: Tensor = StraightThrough.apply(values, *bounds, levels)
    return result


def output_shape(node: Any, index: int = 0) -> list[int]:
    """Return the static shape of an output."""
    return [int(side) for side in node.output(index).get_shape()]


def _reshape(node: Any, values: Tensor) -> Tensor:
    return values.reshape(output_shape(node))


def _transpose(node: Any, values: Tensor, order: Tensor) -> Tensor:
    axes = order.tolist() or list(reversed(range(values.ndim)))
    return values.permute(axes)


def _matmul(node: Any, first: Tensor, second: Tensor) -> Tensor:
    attributes = node.get_attributes()
    if attributes['transpose_a']:
        first = first.transpose(-1, -2)
    if attributes['transpose_b']:
        second = second.transpose(-1, -2)
    return first @ second


def _convolution(node: Any, values: Tensor, weight: Tensor) -> Tensor:
    attributes = _spatial(node)
    return functional.conv2d(values, weight, None, attributes['strides'],
                             attributes['pads_begin'], attributes['dilations'])


def _transposed_convolution(node: Any, values: Tensor, weight: Tensor) -> Tensor:
    attributes = _spatial(node)
    return functional.conv_transpose2d(
        values, weight, None, attributes['strides'], attributes['pads_begin'],
        attributes['output_padding'], 1, attributes['dilations'])


def _spatial(node: Any) -> dict[str, Any]:
    """Return the attributes of a convolution with pairs as tuples."""
    attributes = {name: tuple(value) if isinstance(value, (list, tuple)) or hasattr(
        value, 'tolist') else value for name, value in node.get_attributes().items()}
    if str(attributes.get('auto_pad', 'explicit')).lower() not in ('explicit', 'notset'):
        raise UntrainableError('a convolution with automatic padding')
    if any(len(attributes[name]) != 2 for name in ('strides', 'pads_begin', 'pads_end')):
        raise UntrainableError('a convolution that is not two-dimensional')
    if attributes['pads_begin'] != attributes['pads_end']:
        raise UntrainableError('a convolution with uneven padding')
    return attributes


def _normalize(node: Any, values: Tensor, axes: Tensor) -> Tensor:
    """Return MVN: zero mean and unit variance over some axes."""
    attributes = node.get_attributes()
    dims = axes.tolist()
    centred = values - values.mean(dims, keepdim=True)
    if not attributes['normalize_variance']:
        return centred
    variance = centred.square().mean(dims, keepdim=True)
    if str(attributes['eps_mode']).lower() == 'outside_sqrt':
        return centred / (variance.sqrt() + attributes['eps'])
    return centred * (variance + attributes['eps']).rsqrt()


def _attend(node: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None,
            scale: Tensor | None = None) -> Tensor:
    if node.get_attributes().get('causal'):
        raise UntrainableError('causal attention')
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    weights = (query * factor) @ key.transpose(-1, -2)
    if mask is not None:
        weights = weights + mask
    return torch.softmax(weights, dim=-1) @ value


def _gelu(node: Any, values: Tensor) -> Tensor:
    exact = str(node.get_attributes()['approximation_mode']).lower() == 'erf'
    return functional.gelu(values, approximate='none' if exact else 'tanh')


def _interpolate(node: Any, values: Tensor) -> Tensor:
    attributes = {name: str(value).lower() for name, value in node.get_attributes().items()}
    corners = attributes['coordinate_transformation_mode']
    shape = output_shape(node)
    if attributes['mode'] not in ('linear_onnx', 'linear') or attributes['antialias'] not in (
            'false', '0') or corners not in ('align_corners', 'half_pixel') or (
            list(values.shape[:-2]) != shape[:-2]):
        raise UntrainableError(f'an interpolation of mode {attributes["mode"]}, {corners}')
    return functional.interpolate(values, shape[-2:], mode='bilinear',
                                  align_corners=corners == 'align_corners')


def _slice(node: Any, values: Tensor, start: Tensor, stop: Tensor, step: Tensor,
           axes: Tensor | None = None) -> Tensor:
    index = [slice(None)] * values.ndim
    along = axes.tolist() if axes is not None else range(start.numel())
    for axis, *bounds in zip(along, start.tolist(), stop.tolist(), step.tolist()):
        index[axis] = slice(*bounds)
    return values[tuple(index)]


def _gather(node: Any, values: Tensor, indices: Tensor, axis: Tensor) -> Tensor:
    dim = int(axis)
    chosen = indices.reshape(-1).long() % values.shape[dim]
    return values.index_select(dim, chosen).reshape(output_shape(node))


def _split(node: Any, values: Tensor, axis: Tensor, *lengths: Tensor) -> Sequence[Tensor]:
    dim = int(axis)
    sizes = [output_shape(node, index)[dim] for index in range(node.get_output_size())]
    return values.split(sizes, dim)


def _concat(node: Any, *parts: Tensor) -> Tensor:
    return torch.cat(parts, node.get_attributes()['axis'])


def _mean(node: Any, values: Tensor, axes: Tensor) -> Tensor:
    return values.mean(axes.reshape(-1).tolist(), bool(node.get_attributes()['keep_dims']))


def _clamp(node: Any, values: Tensor) -> Tensor:
    attributes = node.get_attributes()
    return values.clamp(attributes['min'], attributes['max'])


def _swish(node: Any, values: Tensor, beta: Tensor | None = None) -> Tensor:
    return functional.silu(values) if beta is None else values * torch.sigmoid(beta * values)


# The inputs of these after the first one only determine the shape of the output.
SHAPED = {'Reshape': _reshape, 'Squeeze': _reshape, 'Unsqueeze': _reshape,
          'Interpolate': _interpolate,
          'Broadcast': lambda node, values: values.broadcast_to(output_shape(node))}
OPERATORS: dict[str, Operator] = {
    **SHAPED,
    FAKE_QUANTIZE: fake_quantize,
    'Add': lambda node, first, second: first + second,
    'Subtract': lambda node, first, second: first - second,
    'Multiply': lambda node, first, second: first * second,
    'Divide': lambda node, first, second: first / second,
    'Power': lambda node, first, second: first ** second,
    'Sqrt': lambda node, values: values.sqrt(),
    'Exp': lambda node, values: values.exp(),
    'Log': lambda node, values: values.log(),
    'Clamp': _clamp,
    'Relu': lambda node, values: values.relu(),
    'Sigmoid': lambda node, values: values.sigmoid(),
    'Gelu': _gelu, 'Swish': _swish,
    'Softmax': lambda node, values: values.softmax(node.get_attributes()['axis']),
    'MatMul': _matmul, 'Convolution': _convolution,
    'ConvolutionBackpropData': _transposed_convolution,
    'ScaledDotProductAttention': _attend, 'MVN': _normalize, 'ReduceMean': _mean,
    'Transpose': _transpose, 'Slice': _slice, 'Gather': _gather, 'Concat': _concat,
    'Split': _split, 'VariadicSplit': _split}
