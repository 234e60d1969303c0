"""Fits a depth map to the points that ``motion.MotionTracker`` triangulated."""

from depth_anything_ros.alignment.fit import Fit, fit_alignment, FittedSamples, Samples
from depth_anything_ros.alignment.motion import MotionSamples
from depth_anything_ros.arrays import F32, F64, Indices
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.vision.transforms import output_grid
import numpy as np

# A shift needs points in this many of the fields of the image, (rows, columns), and 1/z whose 5th
# and 95th percentile differ by this factor. A scale alone needs points in fewer fields.
_FIELDS, _SHIFT_FIELDS, _SCALE_FIELDS, _DEPTH_SPREAD = (3, 4), 5, 2, 1.3
# The map is not trusted where it differs by more than this share within a pixel: at edges.
_EDGE = 0.15
# Weights relative to their median are limited to these.
_LIGHTEST, _HEAVIEST = 0.2, 2.0


def fit_motion(inverse_depth: F32, samples: MotionSamples, with_shift: bool,
               previous: Fit | None = None) -> Fit:
    """
    Return the fit of a map [H, W] of the same image to ``samples``; shift 0 unless ``with_shift``.

    Scale and shift need points spread over the image and over depth. Otherwise only the scale is
    fitted: the ratio of scale and shift stays that of ``previous``, the last fit with a shift, or
    the shift is 0 without one. AlignmentError with the reason if ``samples`` has no points or they
    fix no scale; the caller should hold the last alignment.
    """
    return measure_motion(inverse_depth, samples, with_shift, previous).fit


def measure_motion(inverse_depth: F32, samples: MotionSamples, with_shift: bool,
                   previous: Fit | None = None) -> FittedSamples:
    """Return the fit of ``fit_motion`` and the points that it used."""
    if not samples.usable:
        raise AlignmentError(samples.reason)
    chosen, values = _values(inverse_depth, samples)
    if not chosen.size:
        raise AlignmentError('the depth map has no value, or an edge, at every triangulated point')
    inverse_z = samples.inverse_z[chosen]
    precision = np.sqrt(samples.weights[chosen]) * inverse_z
    counts, fields_of = _fields(samples.pixels[chosen], samples.size_hw)
    fields = int((counts > 0).sum())
    if fields < _SCALE_FIELDS:
        raise AlignmentError('the points that could be triangulated are all in one part of the '
                             'image; more light or texture helps')
    # Corners crowd where the texture is, but the fit is for the whole image.
    weights = (np.clip(precision / np.median(precision), _LIGHTEST, _HEAVIEST)
               / counts[fields_of])
    points = Samples(values, inverse_z, weights)
    far, near = np.percentile(inverse_z, (5, 95))
    spread = fields >= _SHIFT_FIELDS and near > _DEPTH_SPREAD * far
    return FittedSamples(_fit(points, with_shift, spread, previous), points)


def _fit(points: Samples, with_shift: bool, spread: bool, previous: Fit | None) -> Fit:
    """Return the fit to ``points``, with a shift if they are ``spread`` enough for it."""
    if not with_shift:
        return fit_alignment(points, False)
    if spread:
        try:
            return fit_alignment(points, True)
        except AlignmentError:
            pass  # Noise hides the slope; the limits of the parameters judge the scale.
    ratio = 0.0 if previous is None else previous.shift / previous.scale
    fit = fit_alignment(Samples(points.values + ratio, points.inverse_z, points.weights), False)
    return Fit(fit.scale, fit.scale * ratio, fit.support, fit.outliers, fit.residual,
               fit.inverse_z)


def _values(inverse_depth: F32, samples: MotionSamples) -> tuple[Indices, F64]:
    """Return the numbers of the samples that are not at an edge, and d [N] of the map there."""
    height, width = inverse_depth.shape
    grid = output_grid('native', 1, samples.size_hw, (height, width))
    places = samples.pixels * grid.scale_xy + grid.offset_xy
    left, top = np.clip(places, 0, (width - 2, height - 2)).astype(np.intp).T
    right, down = (places - np.stack([left, top], axis=1)).clip(0, 1).T
    around = np.stack([inverse_depth[top + row, left + column]
                       for row in (0, 1) for column in (0, 1)]).astype(np.float64)
    values = ((1 - down) * ((1 - right) * around[0] + right * around[1])
              + down * ((1 - right) * around[2] + right * around[3]))
    spread = np.ptp(around, axis=0)
    chosen = np.flatnonzero(spread <= _EDGE * np.abs(values))
    return chosen, values[chosen]


def _fields(pixels: F64, size_hw: tuple[int, int]) -> tuple[Indices, Indices]:
    """Return the number of the points [N, 2] in each field of the image, and the field of each."""
    rows = (pixels[:, 1] * _FIELDS[0] / size_hw[0]).astype(np.intp)
    columns = (pixels[:, 0] * _FIELDS[1] / size_hw[1]).astype(np.intp)
    fields = rows * _FIELDS[1] + columns
    return np.bincount(fields, minlength=_FIELDS[0] * _FIELDS[1]), fields
