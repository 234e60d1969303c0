"""
From what a network gives to metres that can be compared with a measured depth map.

Protocol of MiDaS for relative depth (Ranftl et al., TPAMI 2022): least squares in disparity over
valid pixels, clip at the farthest depth, invert. A measured depth is valid where it is finite,
positive and within the range that counts.
"""

from dataclasses import dataclass

from depth_anything_ros.vision.depth import limit_range
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DepthRange:
    """The measured depths that count, in metres; ValueError unless 0 < minimum < maximum < inf."""

    minimum_m: float
    maximum_m: float

    def __post_init__(self) -> None:
        if not 0 < self.minimum_m < self.maximum_m < np.inf:
            raise ValueError(f'a range from {self.minimum_m:g} to {self.maximum_m:g} m holds no '
                             'depth; the minimum must be above 0 and below the maximum')


def fit_scale_shift(inverse_depth: F32, depth_m: F32) -> tuple[float, float]:
    """
    Return (scale, shift) of 1/z = scale * d + shift by least squares over valid pixels.

    A pixel is valid where ``depth_m`` is finite and positive and ``inverse_depth`` is finite.
    ValueError if fewer than two valid pixels differ in d.
    """
    d, depth = _common(inverse_depth, limit_range(depth_m, 0.0, 0.0))
    if d.size < 2 or np.ptp(d) == 0:
        raise ValueError(f'{d.size} valid pixels do not fix a scale and a shift')
    return _least_squares(d, 1 / depth)


def align_relative(inverse_depth: F32, depth_m: F32, limits: DepthRange) -> F32:
    """
    Return depth [m] of a relative map, fitted to ``depth_m`` and clipped at the maximum.

    A flat map becomes the depth that fits best. NaN where ``inverse_depth`` is not finite, and
    everywhere if no pixel is valid in both maps.
    """
    d, depth = _common(inverse_depth, limit_range(depth_m, limits.minimum_m, limits.maximum_m))
    if d.size == 0:
        return np.full_like(inverse_depth, np.nan)
    scale, shift = _least_squares(d, 1 / depth)
    disparity = np.where(np.isfinite(inverse_depth), inverse_depth, np.nan) * scale + shift
    return (1 / np.maximum(disparity, 1 / limits.maximum_m)).astype(np.float32)


def align_metric(predicted_m: F32, depth_m: F32, limits: DepthRange,
                 median_scaling: bool = False) -> F32:
    """
    Return ``predicted_m`` [m] clipped to the range, NaN where it is not finite.

    With ``median_scaling`` it is first multiplied by the ratio of the medians over valid pixels,
    if there is one.
    """
    predicted: F32 = np.where(np.isfinite(predicted_m), predicted_m, np.float32(np.nan))
    if median_scaling:
        found, depth = _common(predicted, limit_range(depth_m, limits.minimum_m,
                                                      limits.maximum_m))
        if found.size and np.median(found) > 0:
            predicted = predicted * np.float32(np.median(depth) / np.median(found))
    return np.clip(predicted, np.float32(limits.minimum_m), np.float32(limits.maximum_m))


def _common(values: F32, depth_m: F32) -> tuple[F64, F64]:
    """Return both maps where both are finite; ``depth_m`` holds NaN where it is invalid."""
    valid = np.isfinite(values) & np.isfinite(depth_m)
    return values[valid].astype(np.float64), depth_m[valid].astype(np.float64)


def _least_squares(d: F64, disparity: F64) -> tuple[float, float]:
    centred = d - d.mean()
    variance = float(centred @ centred)
    scale = float(centred @ disparity) / variance if np.ptp(d) else 0.0
    return scale, float(disparity.mean() - scale * d.mean())
