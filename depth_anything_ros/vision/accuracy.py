"""
Accuracy against measured depth: alignment by the protocol of MiDaS, then the usual scores.

Protocol for relative depth (Ranftl et al., TPAMI 2022): least squares in disparity over the valid
pixels, clip at the farthest depth, invert. A measured depth is valid where it is finite, positive
and within the range of the evaluation.
"""

from dataclasses import dataclass

from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.vision.depth import DepthRange, limit_range
import numpy as np


def fit_scale_shift(inverse_depth: F32, depth_m: F32) -> tuple[float, float]:
    """
    Return (scale, shift) of 1/z = scale * d + shift by least squares over valid pixels.

    A pixel is valid where ``depth_m`` is finite and positive and ``inverse_depth`` is finite.
    ValueError if fewer than two valid pixels differ in d.
    """
    d, depth = _valid_pairs(inverse_depth, limit_range(depth_m, 0.0, 0.0))
    if d.size < 2 or np.ptp(d) == 0:
        raise ValueError(f'{d.size} valid pixels do not fix a scale and a shift')
    return _least_squares(d, 1 / depth)


def align_relative(inverse_depth: F32, depth_m: F32, limits: DepthRange) -> F32:
    """
    Return depth [m] of a relative map, fitted to ``depth_m`` and clipped at the maximum.

    A flat map becomes the constant depth that fits best. NaN where ``inverse_depth`` is not
    finite, and everywhere if no pixel is valid in both maps.
    """
    measured_m = limit_range(depth_m, limits.minimum_m, limits.maximum_m)
    d, depth = _valid_pairs(inverse_depth, measured_m)
    if d.size == 0:
        return np.full_like(inverse_depth, np.nan)
    scale, shift = _least_squares(d, 1 / depth)
    disparity = np.where(np.isfinite(inverse_depth), inverse_depth, np.nan) * scale + shift
    return (1 / np.maximum(disparity, 1 / limits.maximum_m)).astype(np.float32)


def align_metric(predicted_m: F32, depth_m: F32, limits: DepthRange,
                 median_scaling: bool = False) -> F32:
    """
    Return ``predicted_m`` [m] clipped to the range, also where it is infinite; NaN stays NaN.

    With ``median_scaling`` it is first multiplied by the ratio of the medians over the pixels that
    are valid in both maps.
    """
    if median_scaling:
        measured_m = limit_range(depth_m, limits.minimum_m, limits.maximum_m)
        found, depth = _valid_pairs(predicted_m, measured_m)
        if found.size and np.median(found) > 0:
            predicted_m = predicted_m * np.float32(np.median(depth) / np.median(found))
    return np.clip(predicted_m, np.float32(limits.minimum_m), np.float32(limits.maximum_m))


def _valid_pairs(values: F32, depth_m: F32) -> tuple[F64, F64]:
    """Return the values [N] of both maps at the pixels that are finite in both."""
    valid = np.isfinite(values) & np.isfinite(depth_m)
    return values[valid].astype(np.float64), depth_m[valid].astype(np.float64)


def _least_squares(d: F64, disparity: F64) -> tuple[float, float]:
    centred = d - d.mean()
    variance = float(centred @ centred)
    scale = float(centred @ disparity) / variance if np.ptp(d) else 0.0
    return scale, float(disparity.mean() - scale * d.mean())


@dataclass(frozen=True)
class DepthScores:
    """
    Scores over the pixels with a valid measured depth z; z' is the prediction, e = ln z' - ln z.

    ``abs_rel`` is mean |z' - z| / z; ``delta1``, ``delta2`` and ``delta3`` are the shares with
    max(z'/z, z/z') below 1.25, 1.25^2 and 1.25^3; ``rmse_m`` is sqrt(mean (z' - z)^2) in metres;
    ``rmse_log`` is sqrt(mean e^2); ``log10`` is mean |e| / ln 10; ``silog`` is
    100 sqrt(mean(e^2) - mean(e)^2); ``coverage`` is the share of pixels with a prediction.
    """

    abs_rel: float
    delta1: float
    delta2: float
    delta3: float
    rmse_m: float
    rmse_log: float
    log10: float
    silog: float
    coverage: float


def score_depth(predicted_m: F32, depth_m: F32, limits: DepthRange) -> DepthScores:
    """
    Compare two maps [H, W] in metres over the pixels where ``depth_m`` is within ``limits``.

    A prediction that is not finite or not positive counts as wrong for every delta, and with the
    largest error that the range allows at its depth in the means. ValueError if the sizes differ
    or no pixel is valid.
    """
    if predicted_m.shape != depth_m.shape:
        raise ValueError(f'maps of {predicted_m.shape} and {depth_m.shape} cannot be compared')
    valid = np.isfinite(limit_range(depth_m, limits.minimum_m, limits.maximum_m))
    predicted, truth = predicted_m[valid].astype(np.float64), depth_m[valid].astype(np.float64)
    if truth.size == 0:
        raise ValueError(f'no measured depth is between {limits.minimum_m:g} and '
                         f'{limits.maximum_m:g} m')
    missing = ~(np.isfinite(predicted) & (predicted > 0))
    predicted[missing] = 1.0
    ratio = np.maximum(predicted / truth, truth / predicted)
    ratio[missing] = np.inf
    error, log_error = predicted - truth, np.log(predicted / truth)
    error[missing], log_error[missing] = _largest_errors(truth[missing], limits)
    return DepthScores(
        abs_rel=float(np.mean(np.abs(error) / truth)),
        delta1=float(np.mean(ratio < 1.25)),
        delta2=float(np.mean(ratio < 1.25 ** 2)),
        delta3=float(np.mean(ratio < 1.25 ** 3)),
        rmse_m=float(np.sqrt(np.mean(error ** 2))),
        rmse_log=float(np.sqrt(np.mean(log_error ** 2))),
        log10=float(np.mean(np.abs(log_error)) / np.log(10)),
        silog=float(100 * np.std(log_error)),
        coverage=float(1 - np.mean(missing)))


def score_relative(inverse_depth: F32, depth_m: F32, limits: DepthRange) -> DepthScores:
    """Align ``inverse_depth`` to ``depth_m`` by the protocol of MiDaS and compare them."""
    return score_depth(align_relative(inverse_depth, depth_m, limits), depth_m, limits)


def is_ordered(depth: F32, nearer_rc: tuple[int, int], farther_rc: tuple[int, int],
               relative: bool) -> bool:
    """
    Return whether the pixel (row, column) ``nearer_rc`` of ``depth`` [H, W] is the nearer one.

    With ``relative`` a larger value is nearer. False for equal values and for values that are not
    finite.
    """
    near, far = float(depth[nearer_rc]), float(depth[farther_rc])
    if not (np.isfinite(near) and np.isfinite(far)):
        return False
    return near > far if relative else near < far


def _largest_errors(truth: F64, limits: DepthRange) -> tuple[F64, F64]:
    """Return the errors in metres and in ln at the end of the range that is farther from each."""
    low, high = limits.minimum_m, limits.maximum_m
    error: F64 = np.maximum(truth - low, high - truth)
    return error, np.maximum(np.log(truth / low), np.log(high / truth))
