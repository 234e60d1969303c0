"""
Depth Anything as one PyTorch module, and how a state dict becomes one.

It exports cleanly to ONNX at any size that it takes.
"""

from collections.abc import Mapping

from depth_anything_ros.model_info import Kind, ModelVersion
from depth_anything_ros.networks.dpt import DptHead
from depth_anything_ros.networks.models import EncoderSpec, PATCH
from depth_anything_ros.networks.vit import VisionTransformer
import torch
from torch import nn, Tensor

_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class DepthAnything(nn.Module):
    """
    Image [N, 3, H, W], RGB, normalised, H and W multiples of 14, to depth f32 [N, H, W].

    The depth of a network that ends at the grid of its head is smaller, see ``input_spec``.
    Without ``max_depth_m`` the result is inverse depth up to scale and shift, larger is nearer;
    with it the result is depth in metres. Version 3 gives inverse depth up to scale: its head ends
    with the logarithm of depth. It has a second output, sky, see ``maps``.
    """

    def __init__(self, spec: EncoderSpec, version: ModelVersion,
                 max_depth_m: float | None = None) -> None:
        super().__init__()
        kind: Kind = 'relative' if max_depth_m is None else 'metric'
        self.spec = spec
        self.input_spec = spec.input_spec
        self.max_depth_m = max_depth_m
        self.pretrained = VisionTransformer(spec, spec.blocks_read(version))
        self.depth_head = DptHead(spec, kind)

    def forward(self, image: Tensor) -> Tensor:
        return self.maps(image)[0]

    def maps(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the depth, and in version 3 the sky, 0.3 and more where it is; [N, H, W] each."""
        rows, columns = image.shape[-2] // PATCH, image.shape[-1] // PATCH
        depth, *sky = self.depth_head(self.pretrained(image), rows, columns)
        if self.max_depth_m is not None:
            depth = depth * self.max_depth_m
        return tuple(one.squeeze(1) for one in (depth, *sky))


def build_network(spec: EncoderSpec, version: ModelVersion, max_depth_m: float | None,
                  state_dict: Mapping[str, Tensor]) -> DepthAnything:
    """
    Return the network of a model with these weights in f32, ready for inference.

    ValueError names tensors that are missing, unexpected, of the wrong shape or type, or not
    finite.
    """
    with torch.device('meta'):
        network = DepthAnything(spec, version, max_depth_m)
    problem = state_dict_problem(network.state_dict(), state_dict)
    if problem:
        raise ValueError(problem)
    network.load_state_dict(dict(state_dict), strict=True, assign=True)
    network.float().eval().requires_grad_(False)
    return network


def state_dict_problem(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Return why the tensors of ``found`` cannot replace those of ``expected``, '' if they can."""
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    reshaped = [
        f'{key} is {list(found[key].shape)} instead of {list(value.shape)}'
        for key, value in expected.items() if key in found and found[key].shape != value.shape]
    mistyped = [f'{key} is {value.dtype}' for key, value in found.items()
                if value.dtype not in _TYPES]
    # A foreign tensor may claim a size that no memory holds, so its values are not read.
    broken = [] if unexpected or reshaped or mistyped else [
        key for key, value in found.items() if not torch.isfinite(value).all()]
    parts = [f'{word} {_first(names)}' for word, names in (
        ('missing:', missing), ('unexpected:', unexpected), ('wrong shape:', reshaped),
        ('wrong type:', mistyped), ('not finite:', broken)) if names]
    return '; '.join(parts)


def _first(names: list[str], count: int = 3) -> str:
    more = f' and {len(names) - count} more' if len(names) > count else ''
    return ', '.join(names[:count]) + more
