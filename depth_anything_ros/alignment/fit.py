"""
Robust fit of 1/z = scale * d + shift to points with a known depth z.

The residual |ln((scale * d + shift) * z)| is the relative error of the depth, so near and far
points have the same weight. Hypotheses from pairs of points are ranked by their truncated mean
residual (MSAC, Torr and Zisserman, CVIU 2000). The best one is refined by least absolute residuals
(IRLS) over the points within three robust standard deviations (MAD), because least squares would
follow a whole surface with a wrong depth.
"""

from dataclasses import dataclass
from typing import Protocol

from depth_anything_ros.arrays import Bools, F32, F64
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.model_info import Kind
from depth_anything_ros.parameters import AlignmentSettings
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np

_HYPOTHESES, _SCORED, _ROUNDS = 96, 400, 7
# Median of absolute residuals to standard deviation.
_TO_SIGMA = 1.4826
# Residuals, about the share of the depth: the truncation of the score, and the limits of the
# tolerance within which a point agrees with a fit.
_SCORE_CAP, _NARROWEST, _WIDEST = 0.15, 0.02, 0.5
_FLAT = ('the reference points span too little depth to fix a scale and a shift; bring something '
         'nearer or farther into view, or set alignment.fit to scale')


@dataclass(frozen=True)
class Fit:
    """
    Result of a source for one frame: 1/z = ``scale`` * d + ``shift``, both in 1/m.

    ``support`` points agree with it, a share ``outliers`` (0 to 1) of all points does not.
    ``residual`` is the median error of the depth at the points that agree, as a share of the
    depth. ``inverse_z`` is the 10th and the 90th percentile of their 1/z [1/m], the range in which
    the fit is valid.
    """

    scale: float
    shift: float
    support: int
    outliers: float
    residual: float
    inverse_z: tuple[float, float]


@dataclass(frozen=True)
class AlignmentFrame:
    """
    What a source knows about a frame.

    ``inverse_depth`` [H, W] is the d of the model. ``camera`` has the intrinsics of its pixels, or
    is None for the reason ``camera_problem``. ``stamp_s``, ``frame_id`` and the size ``image_hw``
    are those of the image; None is any size.
    """

    inverse_depth: F32
    camera: Intrinsics | None
    camera_problem: str
    stamp_s: float
    frame_id: str
    image_hw: tuple[int, int] | None = None

    def require_camera(self) -> Intrinsics:
        """Return the intrinsics of the map; AlignmentError if they are unknown."""
        if self.camera is None:
            raise AlignmentError(self.camera_problem)
        return self.camera


class AlignmentSource(Protocol):
    """A source of metres for one camera, such as a sensor or the floor."""

    def fit(self, frame: AlignmentFrame, with_shift: bool) -> Fit | None:
        """
        Return the fit of one frame, shift 0 unless ``with_shift``; AlignmentError if none.

        None if the measurements of this frame are still to come. AlignmentHeldError if there are
        none but the last fit holds.
        """

    def close(self) -> None:
        """Release subscriptions and the like; idempotent."""


def fits_shift(fit: str, kind: Kind, source: str, has_shift: bool = True) -> bool:
    """
    Return whether the parameter ``alignment.fit`` selects scale and shift.

    ``has_shift`` is False for a model whose inverse depth lacks only the scale.
    """
    if fit == 'auto':
        return kind == 'relative' and has_shift and source != 'range'
    return fit == 'scale_shift'


@dataclass(frozen=True)
class Samples:
    """
    The model's inverse depth d at points, float64 [N], and their measured 1/z [1/m], [N].

    ``weights`` [N] are about the inverse of the relative error of each; None means equal ones.
    """

    values: F64
    inverse_z: F64
    weights: F64 | None = None


@dataclass(frozen=True)
class FittedSamples:
    """A fit and the samples that it was made for."""

    fit: Fit
    samples: Samples


def fit_alignment(samples: Samples, with_shift: bool, all_surfaces: bool = False) -> Fit:
    """
    Return the fit to ``samples``, with shift 0 unless ``with_shift``. It is deterministic.

    ``all_surfaces``: the points were checked before, so that a surface that disagrees is an error
    of the map. It stays in the fit, up to a residual of 50 %.

    AlignmentError if there are too few samples, if they span no more depth than their noise, or if
    the measured depth decreases where the depth of the model increases.
    """
    d, inverse_z = samples.values, samples.inverse_z
    if d.size < (2 if with_shift else 1):
        raise AlignmentError(
            f'{d.size} reference points cannot be fitted; check what the reference sees and '
            'alignment.reference_min and alignment.reference_max')
    scale, shift = _best_hypothesis(samples, with_shift, _WIDEST if all_surfaces else _SCORE_CAP)
    agree = np.ones(d.size, bool)
    for _ in range(_ROUNDS):
        residual = _residuals(scale * d + shift, inverse_z)
        sigma = _TO_SIGMA * _median(residual[agree], _part(samples.weights, agree))
        agree = residual <= (_WIDEST if all_surfaces else tolerance(sigma, _WIDEST))
        if not agree.any():
            raise AlignmentError('no two reference points agree on a scale; check the pose of '
                                 'the reference and its time stamps')
        weights = (agree / (inverse_z ** 2 * np.maximum(residual, max(0.2 * sigma, 1e-6)))
                   * _weights(samples))
        scale, shift = _weighted_line(d, inverse_z, weights, with_shift)
    kept = Samples(d[agree], inverse_z[agree], _part(samples.weights, agree))
    return _checked_fit(scale, shift, kept, d.size, with_shift)


def fit_together(seen: tuple[FittedSamples, ...], with_shift: bool) -> Fit:
    """
    Return one fit to the points of several sources, each of which counts the same.

    It has the least squared relative errors of the points that agree with the fit of their source:
    a robust fit to all points would choose one source. AlignmentError as ``fit_alignment``.
    """
    kept = [_agreeing(source) for source in seen]
    d, inverse_z = (np.concatenate(parts) for parts in zip(
        *((samples.values, samples.inverse_z) for samples in kept)))
    weights = np.concatenate([_weights(samples) / _weights(samples).sum() for samples in kept])
    scale, shift = _weighted_line(d, inverse_z, weights / inverse_z ** 2, with_shift)
    count = sum(source.samples.values.size for source in seen)
    return _checked_fit(scale, shift, Samples(d, inverse_z), count, with_shift)


def robust_sigma(residuals: F64) -> float:
    """Return the standard deviation of absolute residuals [N], estimated from their median."""
    return _TO_SIGMA * float(np.median(residuals))


def tolerance(sigma: float, widest: float) -> float:
    """Return the residual up to which a point agrees with a fit: 3 sigma, within limits."""
    return min(max(3.0 * sigma, _NARROWEST), widest)


def check_fit(fit: Fit, settings: AlignmentSettings) -> None:
    """Raise AlignmentError if ``fit`` is outside the limits of the parameters."""
    needed = 1 if settings.source == 'range' else settings.min_support
    if fit.support < needed:
        raise AlignmentError(
            f'{fit.support} reference points agree with the fit, at least {needed} are needed; '
            'bring more of the reference into view or lower alignment.min_support')
    if fit.outliers > settings.max_outliers:
        raise AlignmentError(
            f'{100 * fit.outliers:.3g} % of the reference disagrees with the fit, at most '
            f'{100 * settings.max_outliers:.3g} % are allowed; check the pose of the reference or '
            'raise alignment.max_outliers')
    if fit.residual > settings.max_residual:
        raise AlignmentError(
            f'the median error of the fit is {100 * fit.residual:.3g} % of the depth, at most '
            f'{100 * settings.max_residual:.3g} % are allowed; check the pose of the reference '
            'or raise alignment.max_residual')


def _best_hypothesis(samples: Samples, with_shift: bool, cap: float) -> tuple[float, float]:
    d, inverse_z = samples.values, samples.inverse_z
    rng = np.random.default_rng(0)
    with np.errstate(divide='ignore', invalid='ignore'):
        if with_shift:
            order, half = np.argsort(d), d.size // 2
            low = order[rng.integers(0, half, _HYPOTHESES)]
            high = order[rng.integers(half, d.size, _HYPOTHESES)]
            scales = (inverse_z[high] - inverse_z[low]) / (d[high] - d[low])
            shifts = inverse_z[low] - scales * d[low]
        else:
            drawn = rng.integers(0, d.size, _HYPOTHESES)
            scales = inverse_z[drawn] / d[drawn]
            shifts = np.zeros(_HYPOTHESES)
    possible = (scales > 0) & np.isfinite(scales)
    if not possible.any():
        if with_shift and 0 in (np.ptp(d), np.ptp(inverse_z)):
            raise AlignmentError(_FLAT)
        raise AlignmentError('the reference is farther where the model is nearer; check the pose '
                             'of the reference and its time stamps')
    scales, shifts = scales[possible], shifts[possible]
    scored = rng.permutation(d.size)[:_SCORED]
    residuals = _residuals(scales[:, None] * d[scored] + shifts[:, None], inverse_z[scored])
    best = int((np.minimum(residuals, cap) @ _weights(samples)[scored]).argmin())
    return float(scales[best]), float(shifts[best])


def _residuals(found: F64, inverse_z: F64) -> F64:
    """Return |ln(found / inverse_z)|, a large value where ``found`` is not positive."""
    residuals: F64 = np.abs(np.log(np.maximum(found, 1e-12) / inverse_z))
    return residuals


def _agreeing(source: FittedSamples) -> Samples:
    """Return the samples of a source that agree with its fit."""
    fit, samples = source.fit, source.samples
    residuals = _residuals(fit.scale * samples.values + fit.shift, samples.inverse_z)
    agree = residuals <= tolerance(robust_sigma(residuals), _WIDEST)
    return Samples(samples.values[agree], samples.inverse_z[agree], _weights(samples)[agree])


def _weights(samples: Samples) -> F64:
    return np.ones(samples.values.size) if samples.weights is None else samples.weights


def _part(weights: F64 | None, agree: Bools) -> F64 | None:
    return None if weights is None else weights[agree]


def _median(values: F64, weights: F64 | None) -> float:
    """Return the weighted median of ``values`` [N]."""
    if weights is None:
        return float(np.median(values))
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _weighted_line(d: F64, inverse_z: F64, weights: F64, with_shift: bool) -> tuple[float, float]:
    if not with_shift:
        weighted = weights * d
        return float(weighted @ inverse_z / (weighted @ d)), 0.0
    total = weights.sum()
    middle, level = weights @ d / total, weights @ inverse_z / total
    centred = d - middle
    weighted = weights * centred
    variance = weighted @ centred
    if not variance > 0:
        raise AlignmentError(_FLAT)
    scale = float(weighted @ inverse_z / variance)
    return scale, float(level - scale * middle)


def _checked_fit(scale: float, shift: float, kept: Samples, count: int, with_shift: bool) -> Fit:
    """Return the fit to the points that agree, of ``count``; AlignmentError if they are flat."""
    d, inverse_z = kept.values, kept.inverse_z
    found = np.maximum(scale * d + shift, 1e-12)
    error = np.abs(inverse_z / found - 1)
    far, near = np.percentile(inverse_z, (10, 90))
    if with_shift:
        lowest, highest = np.percentile(d, (5, 95))
        if scale * (highest - lowest) <= 3 * np.median(error) * np.median(found):
            raise AlignmentError(_FLAT)
    return Fit(scale, shift, d.size, 1 - d.size / count, _median(error, kept.weights),
               (float(far), float(near)))
