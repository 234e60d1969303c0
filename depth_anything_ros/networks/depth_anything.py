"""Depth Anything as one PyTorch module that exports cleanly at any size."""

from collections.abc import Mapping
from typing import TypeAlias

from depth_anything_ros.model_info import Kind, ModelVersion
from depth_anything_ros.networks.dpt import DptHead
from depth_anything_ros.networks.encoders import EncoderSpec, Member, NanoSpec, PATCH
from depth_anything_ros.networks.inputs import VIT_INPUT
from depth_anything_ros.networks.nano import NanoDepth
from depth_anything_ros.networks.vit import VisionTransformer
from depth_anything_ros.networks.weights import build
from torch import nn, Tensor


class DepthAnything(nn.Module):
    """
    Image [N, 3, H, W], RGB, normalised, H and W multiples of 14, to depth f32 [N, H, W].

    Without ``max_depth_m`` the result is inverse depth up to scale and shift, larger is nearer;
    with it the result is depth in metres.
    """

    input = VIT_INPUT  # noqa: A003 - the word for it

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
    """Return the network with these weights; ValueError as ``weights.build``."""
    return build(lambda: DepthAnything(spec, version, max_depth_m), state_dict)


Network: TypeAlias = DepthAnything | NanoDepth


def build_any_network(member: Member, version: ModelVersion, max_depth_m: float | None,
                 state_dict: Mapping[str, Tensor]) -> Network:
    """
    Return the network of a member with these weights in f32, ready for inference.

    Version and range are those of an encoder; nano has but one form. ValueError as
    ``weights.build``.
    """
    if isinstance(member, NanoSpec):
        return build(NanoDepth, state_dict)
    return build_network(member, version, max_depth_m, state_dict)
