"""Fits a depth map to the points that ``motion.MotionTracker`` triangulated."""

from collections import deque
from dataclasses import replace

from depth_anything_ros.alignment.fit import Fit, fit_alignment, FittedSamples, Samples
from depth_anything_ros.alignment.motion import MotionSamples
from depth_anything_ros.arrays import F32, F64, Indices
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.vision.transforms import output_grid
import numpy as np

# A shift needs points in this many of the fields of the image, (rows, columns), and 1/z whose 5th
# and 95th percentile differ by this factor. A scale alone needs points in fewer fields.
_FIELDS, _SHIFT_FIELDS, _SCALE_FIELDS, _DEPTH_SPREAD = (3, 4), 5, 2, 1.3
# The time over which the ratio of shift and scale is a median [s].
_RATIO_WINDOW_S = 0.8
# The map is not trusted where it differs by more than this share within a pixel: at edges.
_EDGE = 0.15
# Weights relative to their median are limited to these.
_LIGHTEST, _HEAVIEST = 0.2, 2.0
# Parts of the map with the same number of pixels, from the farthest to the nearest, count the
# same if they have this many points; each part has a sample of every so many rows and columns.
_PARTS, _PART_POINTS, _PART_STRIDE = 5, 3, 7


class MotionFitter:
    """
    Fits the depth maps of one camera, in the order of their stamps, to triangulated points.

    The points of one image often fix the ratio of shift and scale badly, and that ratio changes
    slowly. So it is the median over the images of the last 0.8 s, and the scale is that of each
    image. Points that are not spread over the image and over depth fix no ratio: the last one is
    kept, and it is 0 before the first.
    """

    def __init__(self) -> None:
        self._ratios: deque[tuple[float, float]] = deque()

    def fit(self, inverse_depth: F32, samples: MotionSamples, with_shift: bool) -> FittedSamples:
        """
        Return the fit of a map [H, W] of the same image to ``samples``, and the points it used.

        Its shift is 0 unless ``with_shift``. AlignmentError with the reason if ``samples`` has no
        points or they fix no scale; the caller should hold the last alignment.
        """
        points, spread = _points(inverse_depth, samples)
        if not with_shift:
            return FittedSamples(fit_alignment(points, False, True), points)
        alone = _fit_with_shift(points) if spread else None
        if alone is not None:
            self._ratios.append((samples.stamp_s, alone.shift / alone.scale))
        while (len(self._ratios) > 1
               and samples.stamp_s - self._ratios[0][0] > _RATIO_WINDOW_S):
            self._ratios.popleft()
        ratio = float(np.median([ratio for _, ratio in self._ratios])) if self._ratios else 0.0
        if alone is not None and ratio == alone.shift / alone.scale:
            return FittedSamples(alone, points)
        return FittedSamples(_fit_with_ratio(points, ratio), points)

    def correct(self, fit: Fit) -> None:
        """Take the ratio of a better fit of the newest image that had one."""
        if self._ratios:
            self._ratios[-1] = self._ratios[-1][0], fit.shift / fit.scale


def _points(inverse_depth: F32, samples: MotionSamples) -> tuple[Samples, bool]:
    """Return the points to fit, and whether they are spread enough for a shift."""
    if not samples.usable:
        raise AlignmentError(samples.reason)
    chosen, values = _values(inverse_depth, samples)
    if not chosen.size:
        raise AlignmentError('the depth map has no value, or an edge, at every triangulated point')
    inverse_z = samples.inverse_z[chosen]
    precision = np.sqrt(samples.weights[chosen]) * inverse_z
    fields = _fields(samples.pixels[chosen], samples.size_hw)
    if fields < _SCALE_FIELDS:
        raise AlignmentError('the points that could be triangulated are all in one part of the '
                             'image; more light or texture helps')
    # Corners crowd where the texture is, often far away, but the fit is for the whole image.
    weights = (np.clip(precision / np.median(precision), _LIGHTEST, _HEAVIEST)
               / _points_in_part(inverse_depth, values))
    far, near = np.percentile(inverse_z, (5, 95))
    return (Samples(values, inverse_z, weights),
            fields >= _SHIFT_FIELDS and near > _DEPTH_SPREAD * far)


def _fit_with_shift(points: Samples) -> Fit | None:
    try:
        return fit_alignment(points, True, True)
    except AlignmentError:
        # Noise hides the slope; the limits of the parameters judge the scale.
        return None


def _fit_with_ratio(points: Samples, ratio: float) -> Fit:
    """Return the fit whose shift is ``ratio`` times its scale."""
    fit = fit_alignment(Samples(points.values + ratio, points.inverse_z, points.weights), False,
                        True)
    return replace(fit, shift=fit.scale * ratio)


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


def _fields(pixels: F64, size_hw: tuple[int, int]) -> int:
    """Return in how many fields of the image the points [N, 2] are."""
    rows = (pixels[:, 1] * _FIELDS[0] / size_hw[0]).astype(np.intp)
    columns = (pixels[:, 0] * _FIELDS[1] / size_hw[1]).astype(np.intp)
    return len(np.unique(rows * _FIELDS[1] + columns))


def _points_in_part(inverse_depth: F32, values: F64) -> Indices:
    """Return how many of the d [N] are in the part of the map of each, but not too few."""
    seen = inverse_depth[::_PART_STRIDE, ::_PART_STRIDE]
    seen = seen[np.isfinite(seen)]
    ends = np.quantile(seen if seen.size else values, np.arange(1, _PARTS) / _PARTS)
    parts = np.searchsorted(ends, values)
    return np.maximum(np.bincount(parts), _PART_POINTS)[parts]
