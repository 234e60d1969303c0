"""
Consistency of depth over time: maps of a moving camera, compared through its true poses.

``alignment_error`` is the temporal alignment error (TAE) of Video Depth Anything (Chen et al.,
CVPR 2025): each map is warped into the view of its neighbour, both ways, and compared with its
map. Of several points that fall on one pixel the nearest counts; the published code takes any.
"""

from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.vision.depth import limit_range
from depth_anything_ros.vision.geometry import Intrinsics, pixel_rays
import numpy as np


def warp_depth(depth_m: F32, camera: Intrinsics, to_other: F64) -> F32:
    """
    Return the depth [m] that another camera would see of the points of a map [H, W].

    ``to_other`` [4, 4] transforms points of this camera to the other one, which has the same
    intrinsics and no distortion. NaN where no point falls on a pixel.
    """
    height, width = depth_m.shape
    rays = pixel_rays(camera, 1)
    known = np.flatnonzero(np.isfinite(depth_m) & (depth_m > 0))
    rows, columns = np.divmod(known, width)
    z = depth_m.ravel()[known].astype(np.float64)
    points = np.stack([rays.x_over_z[0, columns] * z, rays.y_over_z[rows, 0] * z, z])
    x, y, z = to_other[:3, :3] @ points + to_other[:3, 3:]
    front = z > 0
    x, y, z = x[front], y[front], z[front]
    columns = np.rint(x / z * camera.fx + camera.cx)
    rows = np.rint(y / z * camera.fy + camera.cy)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    pixels = (rows[inside] * width + columns[inside]).astype(np.intp)
    warped = np.full(height * width, np.inf)
    np.minimum.at(warped, pixels, z[inside])
    warped[np.isinf(warped)] = np.nan
    return warped.reshape(height, width).astype(np.float32)


def alignment_error(first_m: F32, second_m: F32, camera: Intrinsics, to_second: F64) -> float:
    """
    Return the mean of |z' - z| / z over both directions between two maps [H, W] in metres.

    z' is the map of one camera, warped into the view of the other, z the map there. ``to_second``
    transforms points of the first camera to the second. NaN if the views do not overlap.
    """
    to_first = np.asarray(np.linalg.inv(to_second), np.float64)
    ways = ((first_m, second_m, to_second), (second_m, first_m, to_first))
    return float(np.mean([_warped_error(source_m, target_m, camera, to_target)
                          for source_m, target_m, to_target in ways]))


def _warped_error(source_m: F32, target_m: F32, camera: Intrinsics, to_target: F64) -> float:
    found, target = warp_depth(source_m, camera, to_target), limit_range(target_m, 0.0, 0.0)
    both = np.isfinite(found) & np.isfinite(target)
    if not both.any():
        return float('nan')
    return float(np.mean(np.abs(found[both] - target[both]) / target[both], dtype=np.float64))


class ClipFit:
    """
    Least squares for scale and shift of 1/z = scale * d + shift over all frames of a clip.

    Only five sums are kept. ``scale_shift`` raises ValueError if d is the same everywhere.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(5)

    def add(self, inverse_depth: F32, depth_m: F32) -> None:
        """Add the pixels of a frame that are finite in both maps and measured above 0 m."""
        measured = limit_range(depth_m, 0.0, 0.0)
        valid = np.isfinite(inverse_depth) & np.isfinite(measured)
        d = inverse_depth[valid].astype(np.float64)
        inverse_z = 1 / measured[valid].astype(np.float64)
        self._sums += np.array([d.size, d.sum(), inverse_z.sum(), d @ d, d @ inverse_z])

    def scale_shift(self) -> tuple[float, float]:
        """Return (scale, shift) for all frames together."""
        count, d, inverse_z, squares, products = self._sums
        variance = squares - d * d / count if count else 0.0
        if not variance > 1e-12 * squares:
            raise ValueError(f'{count:.0f} valid pixels do not fix a scale and a shift')
        scale = (products - d * inverse_z / count) / variance
        return float(scale), float((inverse_z - scale * d) / count)


def frame_scale(predicted_m: F32, depth_m: F32) -> float:
    """Return the median of predicted ÷ measured depth of a frame; NaN without valid pixels."""
    predicted, measured = (limit_range(one, 0.0, 0.0) for one in (predicted_m, depth_m))
    both = np.isfinite(predicted) & np.isfinite(measured)
    return float(np.median(predicted[both] / measured[both])) if both.any() else float('nan')
