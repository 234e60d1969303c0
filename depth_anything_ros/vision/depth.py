"""Depth and inverse depth: the conversions between them, invalid values are NaN."""

from dataclasses import dataclass

from depth_anything_ros.arrays import F32, U16
from depth_anything_ros.model_info import Kind
import numpy as np


def metric_from_inverse(inverse_depth: F32, scale: float, shift: float,
                        beyond: float = np.nan) -> F32:
    """
    Return depth in metres, 1 / (scale * d + shift), of a relative inverse depth map d.

    ``beyond`` where the sum is not positive: such a pixel lies at or beyond infinity. NaN where
    d is.
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
    Return ``depth_m`` [m] with NaN outside of the range and for anything not finite or positive.

    ``maximum_m`` 0 means no limit. The input is unchanged; without a limit in reach it is
    returned as it is.
    """
    upper = maximum_m if maximum_m > 0 else np.inf
    invalid = ~((depth_m > 0) & (depth_m >= minimum_m) & (depth_m <= upper) & (depth_m < np.inf))
    if not invalid.any():
        return depth_m
    limited: F32 = depth_m.copy()
    limited[invalid] = np.nan
    return limited


def millimetres(depth_m: F32) -> U16:
    """Return 16-bit millimetres of depth [m], 0 where it is invalid or does not fit."""
    scaled = depth_m * np.float32(1000)
    fits = (scaled >= 0.5) & (scaled < 65535.5)
    return np.where(fits, scaled + np.float32(0.5), np.float32(0)).astype(np.uint16)


def disparity_for_looking(low: float, high: float, near_m: float,
                          far_m: float) -> tuple[float, float]:
    """
    Return (scale, shift) that put the inverse depths ``low`` at far_m and ``high`` at near_m.

    The result is metric in name only: good for a picture of the cloud, not for measuring.
    """
    scale = (1 / near_m - 1 / far_m) / max(high - low, 1e-6)
    return scale, 1 / far_m - scale * low


@dataclass(frozen=True)
class Correction:
    """Depth of a metric model becomes factor * z + offset_m; a relative model has (1, 0)."""

    factor: float = 1.0
    offset_m: float = 0.0


def corrected(depth_m: F32, rule: Correction) -> F32:
    """Return factor * z + offset of depth [m], NaN where that is not positive."""
    if rule == Correction():
        return depth_m
    depth: F32 = depth_m * np.float32(rule.factor)
    depth += np.float32(rule.offset_m)
    depth[depth <= 0] = np.nan
    return depth


def inverse_depth(depth: F32, kind: Kind, rule: Correction) -> F32:
    """Return the d to which an alignment 1/z = scale * d + shift belongs, of a model's map."""
    return depth if kind == 'relative' else inverse_from_metric(corrected(depth, rule))


def metres(depth: F32, kind: Kind, rule: Correction,
           scale_shift: tuple[float, float] | None) -> F32 | None:
    """
    Return depth [m] of a model's map, or None for a relative model without (scale, shift).

    +inf at and beyond infinity, NaN where invalid. A metric model without (scale, shift) is
    corrected only.
    """
    if scale_shift is None:
        return corrected(depth, rule) if kind == 'metric' else None
    return metric_from_inverse(inverse_depth(depth, kind, rule), *scale_shift, beyond=np.inf)


@dataclass(frozen=True)
class DepthRange:
    """The measured depths that count, in metres; ValueError unless 0 < minimum < maximum < inf."""

    minimum_m: float
    maximum_m: float

    def __post_init__(self) -> None:
        if not 0 < self.minimum_m < self.maximum_m < np.inf:
            raise ValueError(f'a range from {self.minimum_m:g} to {self.maximum_m:g} m holds no '
                             'depth; the minimum must be above 0 and below the maximum')
