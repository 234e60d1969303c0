"""Any network of the family, built from its weights."""

from collections.abc import Mapping
from typing import TypeAlias

from depth_anything_ros.convert.network.depth_anything import build_network, DepthAnything
from depth_anything_ros.convert.network.members import Member, NanoSpec
from depth_anything_ros.convert.network.nano import NanoDepth
from depth_anything_ros.convert.network.weights import build
from depth_anything_ros.model_info import ModelVersion
from torch import Tensor

Network: TypeAlias = DepthAnything | NanoDepth


def build_member(member: Member, version: ModelVersion, max_depth_m: float | None,
                 state_dict: Mapping[str, Tensor]) -> Network:
    """
    Return the network of a member with these weights in f32, ready for inference.

    Version and range are those of an encoder; nano has but one form. ValueError as
    ``weights.build``.
    """
    if isinstance(member, NanoSpec):
        return build(NanoDepth, state_dict)
    return build_network(member, version, max_depth_m, state_dict)
