"""Depth Anything as one PyTorch module that exports cleanly at any size."""

from collections.abc import Mapping

from depth_anything_ros.convert.network.dpt import DptHead
from depth_anything_ros.convert.network.encoders import EncoderSpec, PATCH
from depth_anything_ros.convert.network.vit import VisionTransformer
from depth_anything_ros.model_info import Kind, ModelVersion
import torch
from torch import nn, Tensor

_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class DepthAnything(nn.Module):
    """
    Image [N, 3, H, W], RGB, normalised, H and W multiples of 14, to depth f32 [N, H, W].

    Without ``max_depth_m`` the result is inverse depth up to scale and shift, larger is nearer;
    with it the result is depth in metres.
    """

    def __init__(self, spec: EncoderSpec, version: ModelVersion,
                 max_depth_m: float | None = None) -> None:
        super().__init__()
        kind: Kind = 'relative' if max_depth_m is None else 'metric'
        self.max_depth_m = max_depth_m
        self.pretrained = VisionTransformer(spec, spec.blocks_read(version))
        self.depth_head = DptHead(spec, kind)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2] // PATCH, image.shape[-1] // PATCH
        depth: Tensor = self.depth_head(self.pretrained(image), rows, columns)
        if self.max_depth_m is not None:
            depth = depth * self.max_depth_m
        return depth.squeeze(1)


def build_network(spec: EncoderSpec, version: ModelVersion, max_depth_m: float | None,
                  state_dict: Mapping[str, Tensor]) -> DepthAnything:
    """
    Return the network with these weights in f32, ready for inference.

    ValueError names tensors that are missing, unexpected, of the wrong shape or type, or that
    hold values that are not finite.
    """
    with torch.device('meta'):
        network = DepthAnything(spec, version, max_depth_m)
    problem = _difference(network.state_dict(), state_dict)
    if problem:
        raise ValueError(problem)
    network.load_state_dict(dict(state_dict), strict=True, assign=True)
    network.float().eval().requires_grad_(False)
    return network


def _difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
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
