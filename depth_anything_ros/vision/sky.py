"""
Sky: where a network names it, and where inverse depth alone shows it.

A network for inverse depth gives sky 0, like all that is infinitely far. Other far things reach 0
too, but sky touches the upper border of an image from a camera that is not upside down.
"""

from collections.abc import Sequence

import cv2
from depth_anything_ros.arrays import Bools, F32
from depth_anything_ros.model_info import Kind, ModelInfo
import numpy as np

# Inverse depth below this share of the near end of the scene is 0 within the noise of a network:
# in photographs with sky, shares from 0.005 to 0.02 select nearly the same pixels.
_NOISE, _NEAR_PERCENTILE = 0.01, 98


def with_sky(info: ModelInfo, maps: Sequence[F32]) -> F32:
    """
    Return a copy of the depth map of a network with the sky that its second map [H, W] names.

    Sky has inverse depth 0, and NaN metres. Without ``sky_threshold`` there is no second map.
    """
    depth: F32 = maps[0].copy()
    if info.sky_threshold is not None:
        mark_sky(depth, maps[1], info.sky_threshold, info.kind)
    return depth


def mark_sky(depth: F32, sky: F32, threshold: float, kind: Kind) -> None:
    """Set the depth [H, W] where ``sky`` reaches ``threshold``, as ``with_sky``."""
    depth[sky >= threshold] = 0.0 if kind == 'relative' else np.nan


def sky_mask(depth: F32, info: ModelInfo) -> Bools:
    """
    Return where the map [H, W] that an engine returned shows sky.

    That is where the network names it. Without such an output it is the region at the upper border
    whose inverse depth is 0 within the noise; a metric network without one shows none.
    """
    if info.sky_threshold is not None:
        return depth == 0 if info.kind == 'relative' else np.isnan(depth)
    if info.kind == 'metric' or not np.isfinite(depth).any():
        return np.zeros(depth.shape, bool)
    far = depth <= np.float32(_NOISE) * np.nanpercentile(depth, _NEAR_PERCENTILE)
    if not far[0].any():
        return np.zeros(depth.shape, bool)
    _, labels = cv2.connectedComponents(far.astype(np.uint8), connectivity=4)
    at_border = np.unique(labels[0])
    return np.isin(labels, at_border[at_border > 0])
