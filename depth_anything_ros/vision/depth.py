"""
Depth maps: conversion to and from inverse depth, limits, flying pixels, millimetres.

A map is float32 [H, W]. Metric depth is in metres, NaN where it is invalid; inverse depth is
larger where something is nearer.
"""

from dataclasses import dataclass

import cv2
from depth_anything_ros.arrays import Bools, F32, U16, U8
from depth_anything_ros.model_info import Kind
import numpy as np

# Half sizes, in pixels of a map of this width, of the two windows of the flying-pixel filter: one
# measures a jump, the larger one the slope of the surface around it.
_FILTER_WIDTH, _JUMP_WINDOW, _SLOPE_WINDOW = 640, 1, 4
_HUGE = np.float32(1e30)
# Of the pixels that are left out at either end of a range.
_OUTSIDE_PERCENT = 2


def metric_from_inverse(inverse_depth: F32, scale: float, shift: float,
                        beyond: float = np.nan) -> F32:
    """
    Return depth in metres, 1 / (scale * d + shift), of a relative inverse depth map d.

    A pixel whose sum is not positive is at or beyond infinity and becomes ``beyond``. NaN stays
    NaN.
    """
    disparity: F32 = inverse_depth * np.float32(scale)
    disparity += np.float32(shift)
    disparity[disparity <= 0] = 1 / np.float32(beyond)
    with np.errstate(divide='ignore'):
        np.reciprocal(disparity, out=disparity)
    return disparity


def inverse_from_metric(depth_m: F32) -> F32:
    """Return 1 / z of depth in metres, NaN where it is not positive."""
    inverse = np.full_like(depth_m, np.nan)
    np.reciprocal(depth_m, out=inverse, where=depth_m > 0)
    return inverse


def limit_range(depth_m: F32, minimum_m: float, maximum_m: float) -> F32:
    """
    Return ``depth_m`` [m] with NaN outside the range and where it is not finite or not positive.

    ``maximum_m`` 0 means no limit. The input is not changed; it is returned without a copy where
    every pixel is valid.
    """
    upper = maximum_m if maximum_m > 0 else np.inf
    if depth_m.size and max(minimum_m, 0.0) < depth_m.min() and depth_m.max() < upper:
        # Both comparisons are false if there is a NaN.
        return depth_m
    invalid = ~((depth_m > 0) & (depth_m >= minimum_m) & (depth_m <= upper) & (depth_m < np.inf))
    if not invalid.any():
        return depth_m
    limited: F32 = depth_m.copy()
    limited[invalid] = np.nan
    return limited


def to_millimetres(depth_m: F32) -> U16:
    """
    Return depth [m] as uint16 millimetres, the 16UC1 of REP 118: 0 means invalid.

    That is every pixel that is not finite, nearer than half a millimetre, or farther than the
    65.535 m that fit into 16 bits.
    """
    scaled = depth_m * np.float32(1000)
    fits = (scaled >= 0.5) & (scaled < 65535.5)
    return np.where(fits, scaled + np.float32(0.5), np.float32(0)).astype(np.uint16)


def outer_values(values: F32) -> tuple[float, float]:
    """
    Return the 2nd and the 98th percentile of values [N] without NaN, N at least 1.

    Both are one of the values, which is several times faster to find than a value between two.
    """
    outside = len(values) * _OUTSIDE_PERCENT // 100
    last = len(values) - 1 - outside
    ordered = np.partition(values, (outside, last))
    return float(ordered[outside]), float(ordered[last])


def display_scale_shift(low: float, high: float, near_m: float,
                        far_m: float) -> tuple[float, float]:
    """
    Return (scale, shift) that put the inverse depths ``low`` at far_m and ``high`` at near_m.

    The cloud of a relative model can be displayed with them; its distances are not measurements.
    """
    scale = (1 / near_m - 1 / far_m) / max(high - low, 1e-6)
    return scale, 1 / far_m - scale * low


@dataclass(frozen=True)
class MetricCorrection:
    """Depth of a metric model becomes scale * z + offset_m; a relative model has (1, 0)."""

    scale: float = 1.0
    offset_m: float = 0.0


def correct_metric(depth_m: F32, correction: MetricCorrection) -> F32:
    """Return scale * z + offset of depth [m], NaN where that is not positive."""
    if correction == MetricCorrection():
        return depth_m
    depth: F32 = depth_m * np.float32(correction.scale)
    depth += np.float32(correction.offset_m)
    depth[depth <= 0] = np.nan
    return depth


def model_inverse_depth(depth: F32, kind: Kind, correction: MetricCorrection) -> F32:
    """Return the d of an alignment 1/z = scale * d + shift for the output [H, W] of a model."""
    return depth if kind == 'relative' else inverse_from_metric(correct_metric(depth, correction))


def metric_depth(depth: F32, kind: Kind, correction: MetricCorrection,
                 scale_shift: tuple[float, float] | None) -> F32 | None:
    """
    Return depth [m] of a model's output, None for a relative model without ``scale_shift``.

    +inf at and beyond infinity, NaN where invalid. Without ``scale_shift`` a metric model is only
    corrected.
    """
    if scale_shift is None:
        return correct_metric(depth, correction) if kind == 'metric' else None
    inverse = model_inverse_depth(depth, kind, correction)
    return metric_from_inverse(inverse, *scale_shift, beyond=np.inf)


@dataclass(frozen=True)
class DepthRange:
    """The valid measured depths in metres; ValueError unless 0 < minimum < maximum < inf."""

    minimum_m: float
    maximum_m: float

    def __post_init__(self) -> None:
        if not 0 < self.minimum_m < self.maximum_m < np.inf:
            raise ValueError(f'a range from {self.minimum_m:g} to {self.maximum_m:g} m holds no '
                             'depth; the minimum must be above 0 and below the maximum')


def remove_flying_pixels(depth_m: F32, threshold: float) -> F32:
    """
    Return a copy of ``depth_m`` [H, W] with NaN on both sides of depth edges.

    A network draws an edge as a ramp from one surface to the other, and its pixels become points
    in the air. A pixel is removed where inverse depth changes, from one pixel to the next, by more
    than ``threshold`` times its own value in addition to the slope of the surface around it.
    Inverse depth is linear on a plane, so a floor at a flat angle stays whole. The distance to the
    next pixel is a 640th of the width. A threshold of 0 returns the input.
    """
    if threshold <= 0:
        return depth_m
    inverse = inverse_from_metric(depth_m)
    filtered: F32 = depth_m.copy()
    filtered[inverse_depth_jumps(inverse) > np.float32(threshold) * inverse] = np.nan
    return filtered


def inverse_depth_jumps(inverse_z: F32) -> F32:
    """Return the change of 1/z [H, W] to the next pixel beyond the slope of the surface there."""
    reach = max(1, round(inverse_z.shape[1] / _FILTER_WIDTH))
    change = _local_range(inverse_z, np.isnan(inverse_z), _window(_JUMP_WINDOW * reach))
    jumps: F32 = change - cv2.erode(change, _window(_SLOPE_WINDOW * reach))
    return jumps


def _local_range(values: F32, invalid: Bools, window: U8) -> F32:
    """Return the largest minus the smallest valid value in the window, huge where invalid."""
    upper, lower = values, values
    if invalid.any():
        upper, lower = values.copy(), values.copy()
        upper[invalid], lower[invalid] = 0.0, _HUGE
    change: F32 = cv2.dilate(upper, window)  # type: ignore[assignment]
    change -= cv2.erode(lower, window)
    change[invalid] = _HUGE
    return change


def _window(reach: int) -> U8:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
