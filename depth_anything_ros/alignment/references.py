"""
Samples of reference sensors: inverse depth d of the model and measured 1/z at the same points.

Of more than ``most`` points as many are taken, evenly spread and always the same ones. Where
nothing can be compared, the samples have length 0.
"""

from dataclasses import dataclass

from depth_anything_ros.alignment.fit import Samples
from depth_anything_ros.arrays import Bools, F32, F64, Indices
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.geometry import Intrinsics, project
import numpy as np

# More points than this are decimated before they are projected.
MOST_POINTS = 20000
# A few thousand samples fix a scale and a shift as well as all of them.
_MOST_SAMPLES = 2000
# Cells of the coarse z-buffer, as a share of the longer side of the map. A point is hidden if it
# is farther, by more than this share, than the nearest point in the cells around it.
_CELL, _HIDDEN_BEHIND = 1 / 48, 0.15
_NEAREST_PERCENTILE = 95
# By this share, or by one row, the height may differ from that of the image's aspect ratio.
_SHAPE_TOLERANCE = 0.03


@dataclass(frozen=True)
class MeasuredDepth:
    """The measurements ``depth_m`` [N] in metres at the flat ``pixels`` [N] of ``size_hw``."""

    pixels: Indices
    depth_m: F32
    size_hw: tuple[int, int]


def measured_depth(reference_m: F32, limits: DepthRange,
                   most: int = _MOST_SAMPLES) -> MeasuredDepth:
    """Return what a depth image [h, w] in metres measures within ``limits``; 0 and NaN never."""
    height, width = reference_m.shape
    seen = _spread(np.flatnonzero((reference_m >= limits.minimum_m)
                                  & (reference_m <= limits.maximum_m)), most)
    return MeasuredDepth(seen, reference_m.ravel()[seen], (height, width))


def check_view(reference_hw: tuple[int, int], image_hw: tuple[int, int]) -> None:
    """Raise AlignmentError if a depth image has not the shape of the image, nor so its view."""
    (height, width), (image_height, image_width) = reference_hw, image_hw
    expected = width * image_height / image_width
    if abs(height - expected) > max(1.0, _SHAPE_TOLERANCE * expected):
        raise AlignmentError(
            f'the reference depth is {width}x{height}, but the image is {image_width}x'
            f'{image_height}, so their views differ; register the depth to the camera, for '
            'example with depth_image_proc, and publish it in the shape of the image')


def samples_from_measured(inverse_depth: F32, measured: MeasuredDepth) -> Samples:
    """
    Compare a map [H, W] with measured depth of the same view.

    The sizes may differ: each measurement is compared with the nearest pixel of the map.
    """
    (height, width), (rows_in, columns_in) = inverse_depth.shape, measured.size_hw
    rows, columns = np.divmod(measured.pixels, columns_in)
    values = inverse_depth[(2 * rows + 1) * height // (2 * rows_in),
                           (2 * columns + 1) * width // (2 * columns_in)]
    return _finite(values, measured.depth_m)


def samples_from_depth(inverse_depth: F32, reference_m: F32, limits: DepthRange,
                       most: int = _MOST_SAMPLES) -> Samples:
    """
    Compare a map [H, W] with measured depth [h, w] in metres of the same view, dense or sparse.

    Values outside ``limits``, 0 and NaN are ignored.
    """
    return samples_from_measured(inverse_depth, measured_depth(reference_m, limits, most))


def samples_from_points(inverse_depth: F32, points_xyz: F64, camera: Intrinsics,
                        limits: DepthRange, most: int = _MOST_SAMPLES) -> Samples:
    """
    Compare a map [H, W] with points [N, 3] in metres in the optical frame of the camera.

    ``camera`` has the intrinsics of the map. Points behind nearer ones are ignored: a sensor at
    another place sees past edges.
    """
    points = points_xyz[::max(1, -(-len(points_xyz) // MOST_POINTS))]
    height, width = inverse_depth.shape
    rows, columns, depth_m = seen_points(points, camera, (height, width), limits)
    kept = _spread(np.arange(rows.size), most)
    return _finite(inverse_depth[rows[kept], columns[kept]], depth_m[kept])


def seen_points(points_xyz: F64, camera: Intrinsics, size_hw: tuple[int, int],
                limits: DepthRange) -> tuple[Indices, Indices, F64]:
    """
    Return row, column and depth [m] of the points [N, 3] that the camera sees, [M] each.

    ``camera`` has the intrinsics of a map of ``size_hw``. Points behind nearer ones are left out.
    """
    height, width = size_hw
    depth_m = points_xyz[:, 2]
    points = points_xyz[(depth_m >= limits.minimum_m) & (depth_m <= limits.maximum_m)]
    pixels = np.rint(project(points, camera))
    inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
    columns, rows = pixels[inside].astype(np.intp).T
    depth_m = points[inside, 2]
    visible = _visible(rows, columns, depth_m, size_hw)
    return rows[visible], columns[visible], depth_m[visible]


def samples_from_range(inverse_depth: F32, centre_xyz: F64, radius_m: float,
                       camera: Intrinsics) -> Samples:
    """
    Compare a map [H, W] with one measured range: a single sample.

    ``centre_xyz`` [3] is the point on the axis of the sensor at the measured distance, in the
    optical frame in metres; ``radius_m`` is the radius of the cone there; ``camera`` has the
    intrinsics of the map. A sonar or time-of-flight sensor measures the nearest object in its
    cone, so the sample is a high percentile of d in the cone.
    """
    column, row = project(centre_xyz[None], camera)[0]
    if not np.isfinite((column, row, centre_xyz[2])).all():
        return Samples(np.empty(0), np.empty(0))
    radius_x, radius_y = (max(radius_m / centre_xyz[2] * focal, 1.0)
                          for focal in (camera.fx, camera.fy))
    height, width = inverse_depth.shape
    top, bottom = np.clip((row - radius_y, row + radius_y + 1), 0, height).astype(int)
    left, right = np.clip((column - radius_x, column + radius_x + 1), 0, width).astype(int)
    rows, columns = np.ogrid[top:bottom, left:right]
    disc = ((rows - row) / radius_y) ** 2 + ((columns - column) / radius_x) ** 2 <= 1
    values = inverse_depth[top:bottom, left:right][disc]
    values = values[np.isfinite(values)]
    if values.size == 0:
        return Samples(np.empty(0), np.empty(0))
    nearest = np.percentile(values, _NEAREST_PERCENTILE)
    return _finite(np.array([nearest]), centre_xyz[2:])


def _spread(pixels: Indices, most: int) -> Indices:
    """Return at most ``most`` of the pixels, evenly spread."""
    if pixels.size <= most:
        return pixels
    return pixels[np.arange(most) * pixels.size // most]


def _visible(rows: Indices, columns: Indices, depth_m: F64,
             size_hw: tuple[int, int]) -> Bools:
    """Return which points are not hidden by a nearer point around them."""
    cell = max(size_hw) * _CELL
    across, down = int(size_hw[1] / cell) + 3, int(size_hw[0] / cell) + 3
    nearest = np.full(across * down, np.inf)
    cells = (rows / cell + 1).astype(np.intp) * across + (columns / cell + 1).astype(np.intp)
    np.minimum.at(nearest, cells, depth_m)
    around = nearest.reshape(down, across)
    around = np.minimum(around, np.minimum(np.roll(around, 1, 1), np.roll(around, -1, 1)))
    around = np.minimum(around, np.minimum(np.roll(around, 1, 0), np.roll(around, -1, 0)))
    visible: Bools = depth_m <= around.ravel()[cells] * (1 + _HIDDEN_BEHIND)
    return visible


def _finite(values: F32 | F64, depth_m: F32 | F64) -> Samples:
    finite = np.isfinite(values)
    return Samples(values[finite].astype(np.float64), 1 / depth_m[finite].astype(np.float64))
