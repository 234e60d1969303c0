"""
Depth of a sensor whose holes are filled with the fitted depth of the model.

A measured pixel is kept where it agrees with the fit, which reveals what a sensor measures wrongly
and without a hole: glass, mirrors, reflections, interference. All other pixels are fitted depth.
Beside a measured pixel of the same surface its inverse depth is shifted by the error that the fit
has there, and less with distance, so that there is no step between the two.
"""

from dataclasses import dataclass

import cv2
from depth_anything_ros.alignment.fit import Fit, robust_sigma, tolerance
from depth_anything_ros.arrays import Bools, F32, F64, Indices, U8
from depth_anything_ros.vision.depth import inverse_from_metric
from depth_anything_ros.vision.transforms import OutputGrid
import numpy as np

# Values of the mask.
NO_DEPTH, FITTED, MEASURED = 0, 128, 255
# The widest tolerance that is found by itself, as a share of 1/z.
_WIDEST = 0.25
_ROUNDS, _MOST_COMPARED = 3, 20000
# Measured and fitted edges are up to this many pixels apart in a map of this width.
_WIDTH, _EDGE_PX = 640, 2
# The error of the fit is averaged over this share of the seam before it is passed on. A pixel
# belongs to another surface if its fitted 1/z differs by more than this share.
_AVERAGED, _OTHER_SURFACE = 0.25, 0.1


@dataclass(frozen=True)
class Comparison:
    """
    A measured map compared with the fitted one.

    ``agrees`` [H, W] are the measured pixels that may be kept. ``compared`` pixels have both
    depths; ``fit`` counts those that agree, with their residual, as for a fit of an alignment.
    """

    agrees: Bools
    compared: int
    fit: Fit


@dataclass(frozen=True)
class FilledDepth:
    """``depth_m`` [H, W], NaN where unknown; ``mask`` [H, W]: NO_DEPTH, FITTED or MEASURED."""

    depth_m: F32
    mask: U8


def measured_on_grid(measured_m: F32, image_hw: tuple[int, int], grid: OutputGrid) -> F32:
    """
    Return the measured map [h, w] at the pixels of ``grid``, each the nearest measured pixel.

    ``measured_m`` has the view of the image of ``image_hw``, at any size. Depth is not
    interpolated, because that would put points between two surfaces.
    """
    rows, columns = (
        _nearest(np.arange(size), scale, offset, measured / image, measured)
        for size, scale, offset, measured, image in zip(
            grid.size_hw, grid.scale_xy[::-1], grid.offset_xy[::-1], measured_m.shape, image_hw))
    return measured_m[rows[:, None], columns]


def _nearest(pixels: Indices, scale: float, offset: float, ratio: float, count: int) -> Indices:
    """Return the measured row or column at each row or column of a grid."""
    found = np.floor(((pixels - offset) / scale + 0.5) * ratio).astype(np.intp)
    nearest: Indices = np.clip(found, 0, count - 1)
    return nearest


def compare_depth(measured_m: F32, fitted_m: F32, allowed: float = 0.0) -> Comparison:
    """
    Find the pixels at which two maps [H, W] in metres agree.

    The difference of 1/z must be at most ``allowed`` times the fitted 1/z; 0 stands for three
    robust standard deviations of all differences. Beside an edge any depth between both surfaces
    agrees. Beyond the depth at which a tenth of the scene is measured, the difference is compared
    with the 1/z of that depth: a relative error is unknown near infinity. A measured pixel without
    a fitted one agrees.
    """
    measured, fitted = inverse_from_metric(measured_m), inverse_from_metric(fitted_m)
    known = np.isfinite(measured)
    both = known & np.isfinite(fitted)
    places = np.flatnonzero(both)
    if not places.size:
        return Comparison(known, 0, Fit(1.0, 0.0, 0, 0.0, 0.0, (0.0, 0.0)))
    sample = places[::-(-places.size // _MOST_COMPARED)]
    found, true = fitted.ravel()[sample].astype(np.float64), measured.ravel()[sample]
    far, near = np.percentile(true, (10, 90))
    limit = allowed or _robust_limit(np.abs(true - found) / np.maximum(found, far))
    agrees = both & (_beyond_surfaces(measured, fitted)
                     <= np.float32(limit) * np.maximum(fitted, np.float32(far)))
    kept = agrees.ravel()[sample]
    residual = np.abs(true - found)[kept] / true[kept]
    support = int(agrees.sum())
    return Comparison(agrees | (known & ~both), places.size, Fit(
        1.0, 0.0, support, 1 - support / places.size,
        float(np.median(residual)) if residual.size else 0.0, (float(far), float(near))))


def fill_depth(measured_m: F32, fitted_m: F32, agrees: Bools, seam: float) -> F32:
    """
    Return depth [m]: ``measured_m`` where it ``agrees``, elsewhere ``fitted_m``, blended.

    ``seam`` is the distance, as a share of the width, over which the fitted depth is blended; 0
    does not blend. What is beyond infinity stays +inf, what is unknown in both maps NaN.
    """
    filled: F32 = fitted_m.copy()
    if seam > 0:
        _blend(filled, measured_m, agrees, max(1.0, seam * fitted_m.shape[1]))
    filled[agrees] = measured_m[agrees]
    return filled


def _robust_limit(differences: F64) -> float:
    """Return three robust standard deviations of the relative differences [N] that agree."""
    limit = np.inf
    for _ in range(_ROUNDS):
        limit = tolerance(robust_sigma(differences[differences <= limit]), _WIDEST)
        if not (differences <= limit).any():
            break
    return limit


def _beyond_surfaces(measured: F32, fitted: F32) -> F32:
    """Return by how much 1/z is outside the range of the fitted 1/z around it, NaN if unknown."""
    reach = max(1, round(fitted.shape[1] * _EDGE_PX / _WIDTH))
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    unknown = ~np.isfinite(fitted)
    upper, lower = fitted, fitted
    if unknown.any():
        upper, lower = fitted.copy(), fitted.copy()
        upper[unknown], lower[unknown] = 0.0, np.inf
    return np.asarray(np.maximum(measured - cv2.dilate(upper, window),
                                 cv2.erode(lower, window) - measured), np.float32)


def _blend(filled: F32, measured_m: F32, agrees: Bools, reach_px: float) -> None:
    """Correct the fitted depth ``filled`` within ``reach_px`` of the measured pixels."""
    inverse = inverse_from_metric(filled)
    with np.errstate(divide='ignore', invalid='ignore'):
        ratio = 1 / (measured_m * inverse)
    source = agrees & (ratio > 0.5) & (ratio < 2.0)
    if not source.any():
        return
    side = 2 * max(1, round(_AVERAGED * reach_px)) + 1
    weight = cv2.blur(source.astype(np.float32), (side, side))
    total = cv2.blur(np.where(source, ratio, np.float32(0)), (side, side))
    distance_px, labels = cv2.distanceTransformWithLabels(
        (~source).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    places = np.flatnonzero(~agrees & np.isfinite(inverse) & (inverse > 0)
                            & (distance_px < reach_px))
    if not places.size:
        return
    pixel_of = np.zeros(int(labels.max()) + 1, np.intp)
    pixel_of[labels[source]] = np.flatnonzero(source)
    nearest = pixel_of[labels.ravel()[places]]
    correction = total.ravel()[nearest] / weight.ravel()[nearest]
    here, there = inverse.ravel()[places], inverse.ravel()[nearest]
    other = np.abs(here - there) / (np.float32(_OTHER_SURFACE) * np.maximum(here, there))
    share = np.clip(1 - distance_px.ravel()[places] / np.float32(reach_px), 0, 1)
    share *= np.clip(1 - other, 0, 1)
    filled.ravel()[places] = 1 / (here * (1 + share * (correction - 1)))
