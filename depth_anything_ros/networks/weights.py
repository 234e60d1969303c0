"""Weights into a network: none missing, none left over, all of them numbers."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import nn, Tensor

_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

Network = TypeVar('Network', bound=nn.Module)


def build(make: Callable[[], Network], state_dict: Mapping[str, Tensor]) -> Network:
    """
    Return the network that ``make`` makes with these weights in f32, ready for inference.

    ValueError names tensors that are missing, unexpected, of the wrong shape or type, or that
    hold values that are not finite.
    """
    with torch.device('meta'):
        network = make()
    problem = difference(network.state_dict(), state_dict)
    if problem:
        raise ValueError(problem)
    network.load_state_dict(dict(state_dict), strict=True, assign=True)
    network.float().eval().requires_grad_(False)
    return network


def difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Return in what a state dict is not as expected, empty where it is."""
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    reshaped = [
        f'{key} is {list(found[key].shape)} instead of {list(value.shape)}'
        for key, value in expected.items() if key in found and found[key].shape != value.shape]
    other = [f'{key} is {value.dtype}' for key, value in found.items()
             if value.dtype not in _TYPES]
    broken = [key for key, value in found.items()
              if value.dtype in _TYPES and not torch.isfinite(value).all()]
    parts = [f'{word} {_first(names)}' for word, names in (
        ('missing:', missing), ('unexpected:', unexpected), ('wrong shape:', reshaped),
        ('wrong type:', other), ('not finite:', broken)) if names]
    return '; '.join(parts)


def _first(names: list[str], count: int = 3) -> str:
    more = f' and {len(names) - count} more' if len(names) > count else ''
    return ', '.join(names[:count]) + more
