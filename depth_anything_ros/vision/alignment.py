"""
Scale and shift of relative depth, and the usual figures of merit.

Protocol of MiDaS (Ranftl et al., TPAMI 2022): least squares in disparity over valid pixels, clip
at the farthest depth, invert.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DepthScores:
    """``abs_rel`` is mean |z' - z| / z; ``delta1`` the share with max(z'/z, z/z') < 1.25."""

    abs_rel: float
    delta1: float


def fit_scale_shift(inverse_depth: F32, depth_m: F32) -> tuple[float, float]:
    """
    Return (scale, shift) of 1/z = scale * d + shift by least squares over valid pixels.

    A pixel is valid where ``depth_m`` is finite and positive and ``inverse_depth`` is finite.
    ValueError if fewer than two valid pixels differ in d.
    """
    valid = np.isfinite(depth_m) & (depth_m > 0) & np.isfinite(inverse_depth)
    d = inverse_depth[valid].astype(np.float64)
    disparity = 1 / depth_m[valid].astype(np.float64)
    if d.size < 2 or np.ptp(d) == 0:
        raise ValueError(f'{d.size} valid pixels do not fix a scale and a shift')
    centred = d - d.mean()
    scale = float(centred @ disparity / (centred @ centred))
    return scale, float(disparity.mean() - scale * d.mean())


def score_depth(predicted_m: F32, depth_m: F32) -> DepthScores:
    """Compare two depth maps in metres over the pixels where ``depth_m`` is valid."""
    valid = np.isfinite(depth_m) & (depth_m > 0) & np.isfinite(predicted_m) & (predicted_m > 0)
    predicted, truth = predicted_m[valid].astype(np.float64), depth_m[valid].astype(np.float64)
    if truth.size == 0:
        raise ValueError('no pixel is valid in both depth maps')
    ratio = np.maximum(predicted / truth, truth / predicted)
    return DepthScores(float(np.mean(np.abs(predicted - truth) / truth)),
                       float(np.mean(ratio < 1.25)))


def score_relative(inverse_depth: F32, depth_m: F32, max_depth_m: float) -> DepthScores:
    """Align ``inverse_depth`` to ``depth_m``, clip it at ``max_depth_m`` and compare."""
    scale, shift = fit_scale_shift(inverse_depth, depth_m)
    disparity = np.maximum(inverse_depth * scale + shift, 1 / max_depth_m)
    return score_depth((1 / disparity).astype(np.float32), depth_m)
