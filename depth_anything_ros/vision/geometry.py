"""
Where a camera sees a point, and in which direction its pixels look.

Points are in the optical frame of REP 103: x right, y down, z forward. Distortion is that of
sensor_msgs/CameraInfo, computed by OpenCV.
"""

from dataclasses import dataclass, replace

import cv2
from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.errors import CameraInfoError
import numpy as np

_COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8,), 'equidistant': (4,)}
_NEWTON_STEPS, _NEWTON_ERROR = 6, 1e-6
_ROUND_TRIP_PX = 0.05


@dataclass(frozen=True)
class Distortion:
    """How a lens bends: a ``distortion_model`` of sensor_msgs/CameraInfo and its ``d``."""

    model: str
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        counts = _COEFFICIENTS.get(self.model)
        if counts is None:
            raise CameraInfoError(
                f'distortion model {self.model!r} is unknown; calibrate with one of '
                f'{", ".join(_COEFFICIENTS)}, or use rectified images')
        if len(self.coefficients) not in counts:
            raise CameraInfoError(
                f'distortion model {self.model} has {len(self.coefficients)} coefficients, it '
                f'needs {" or ".join(map(str, counts))}; calibrate the camera anew')
        if not np.isfinite(self.coefficients).all():
            raise CameraInfoError(
                f'distortion model {self.model} has coefficients that are not finite; '
                'calibrate the camera anew')


@dataclass(frozen=True)
class Intrinsics:
    """A camera: focal lengths and centre in pixels of an image of ``size_hw``."""

    fx: float
    fy: float
    cx: float
    cy: float
    size_hw: tuple[int, int]
    distortion: Distortion | None = None

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not np.isfinite(values).all() or self.fx <= 0 or self.fy <= 0:
            raise CameraInfoError(
                f'the camera is not calibrated (fx {self.fx:g}, fy {self.fy:g}); '
                'calibrate it, for example with camera_calibration')

    def on_grid(self, size_hw: tuple[int, int], scale_xy: tuple[float, float],
                offset_xy: tuple[float, float]) -> 'Intrinsics':
        """Return the camera of another grid over the same view: pixel u' = scale * u + offset."""
        (scale_x, scale_y), (offset_x, offset_y) = scale_xy, offset_xy
        return replace(self, fx=self.fx * scale_x, fy=self.fy * scale_y,
                       cx=self.cx * scale_x + offset_x, cy=self.cy * scale_y + offset_y,
                       size_hw=size_hw)


@dataclass(frozen=True)
class Rays:
    """
    Directions of the pixels kept by ``stride``: x/z and y/z.

    Both broadcast to [H', W']: [1, W'] and [H', 1] without distortion, whole maps with it, NaN
    where the distortion cannot be undone.
    """

    x_over_z: F32
    y_over_z: F32
    stride: int


def aligned_corners(camera: Intrinsics, size_hw: tuple[int, int]) -> Intrinsics:
    """
    Return the camera of a map of ``size_hw`` whose corner pixels are those of the image.

    That is how the output of the network lies over its image.
    """
    (height, width), (old_height, old_width) = size_hw, camera.size_hw
    scale_xy = ((width - 1) / max(old_width - 1, 1), (height - 1) / max(old_height - 1, 1))
    return camera.on_grid(size_hw, scale_xy, (0.0, 0.0))


def pixel_rays(camera: Intrinsics, stride: int) -> Rays:
    """Return the rays of every ``stride``-th column and row."""
    height, width = camera.size_hw
    x = (np.arange(0, width, stride, dtype=np.float64) - camera.cx) / camera.fx
    y = (np.arange(0, height, stride, dtype=np.float64) - camera.cy) / camera.fy
    if camera.distortion is None:
        return Rays(x[None, :].astype(np.float32), y[:, None].astype(np.float32), stride)
    bent = np.stack(np.meshgrid(x, y), axis=-1)
    straight = _undistorted(bent.reshape(-1, 2), camera.distortion)
    missed_px = (_distorted(straight, camera.distortion) - bent.reshape(-1, 2)) * camera.fx
    wrong = ~(np.abs(missed_px).max(axis=1) < _ROUND_TRIP_PX)
    straight[wrong | (np.hypot(*straight.T) > _largest_radius(camera.distortion))] = np.nan
    rays = straight.reshape(bent.shape).astype(np.float32)
    return Rays(np.ascontiguousarray(rays[..., 0]), np.ascontiguousarray(rays[..., 1]), stride)


class RayCache:
    """The rays of one camera, computed anew when it changes: distortion makes them slow."""

    def __init__(self) -> None:
        self._known: tuple[Intrinsics, int, Rays] | None = None

    def of(self, camera: Intrinsics, stride: int) -> Rays:
        """Return what ``pixel_rays`` gives."""
        if self._known is None or self._known[:2] != (camera, stride):
            self._known = (camera, stride, pixel_rays(camera, stride))
        return self._known[2]


def project(points_xyz: F64, camera: Intrinsics) -> F64:
    """
    Return column and row of points [N, 3] in metres of the optical frame, as float64 [N, 2].

    NaN for points that are not in front of the camera, and for those so far outside the view
    that the distortion would bend them back into the image.
    """
    points = np.asarray(points_xyz, np.float64).reshape(-1, 3)
    with np.errstate(divide='ignore', invalid='ignore'):
        straight = points[:, :2] / points[:, 2:]
    straight[~(points[:, 2] > 0) | ~np.isfinite(straight).all(axis=1)] = np.nan
    if camera.distortion is not None:
        straight[np.hypot(*straight.T) > _largest_radius(camera.distortion)] = np.nan
        known = np.isfinite(straight).all(axis=1)
        straight[known] = _distorted(straight[known], camera.distortion)
    return straight * (camera.fx, camera.fy) + (camera.cx, camera.cy)


def _largest_radius(distortion: Distortion) -> float:
    """Return the x/z up to which the lens moves points outwards; beyond, it folds the view."""
    d = distortion.coefficients
    if distortion.model != 'equidistant':
        d = (*d[:2], 0.0, 0.0, *d[4:])
    radii = np.geomspace(1e-3, 1e3, 3000)
    bent = _distorted(np.stack([radii, np.zeros_like(radii)], axis=1),
                      replace(distortion, coefficients=d))[:, 0]
    folds = np.flatnonzero(~(np.diff(bent) > 0))
    return float(radii[folds[0]]) if folds.size else np.inf


def _distorted(straight: F64, distortion: Distortion) -> F64:
    """Return x/z and y/z [N, 2] as the lens bends them."""
    if not len(straight):
        return straight
    points = np.concatenate([straight, np.ones((len(straight), 1))], axis=1)[:, None]
    zero, eye = np.zeros(3), np.eye(3)
    coefficients = np.asarray(distortion.coefficients)
    if distortion.model == 'equidistant':
        bent, _ = cv2.fisheye.projectPoints(points, zero, zero, eye, coefficients)
    else:
        bent, _ = cv2.projectPoints(points, zero, zero, eye, coefficients)
    return np.asarray(bent, np.float64).reshape(-1, 2)


def _undistorted(bent: F64, distortion: Distortion) -> F64:
    """
    Return x/z and y/z [N, 2] before the lens bent them; wrong where that does not converge.

    OpenCV stops after a few steps or many, depending on its version; Newton's method ends them.
    """
    if not len(bent):
        return bent
    coefficients, eye = np.asarray(distortion.coefficients), np.eye(3)
    points = np.ascontiguousarray(bent[:, None])
    undistort = (cv2.fisheye.undistortPoints if distortion.model == 'equidistant'
                 else cv2.undistortPoints)
    straight = np.array(undistort(points, eye, coefficients), np.float64).reshape(-1, 2)
    for _ in range(_NEWTON_STEPS):
        error = np.abs(_distorted(straight, distortion) - bent).max(axis=1)
        off = np.flatnonzero(~(error < _NEWTON_ERROR))
        if not off.size:
            break
        straight[off] -= _newton_step(straight[off], bent[off], distortion)
    return straight


def _newton_step(straight: F64, bent: F64, distortion: Distortion) -> F64:
    """Return by how much ``straight`` [N, 2] misses what the lens bends to ``bent``."""
    small = 1e-6
    here = _distorted(straight, distortion)
    along_x = (_distorted(straight + (small, 0), distortion) - here) / small
    along_y = (_distorted(straight + (0, small), distortion) - here) / small
    error = here - bent
    with np.errstate(all='ignore'):
        step = np.stack([error[:, 0] * along_y[:, 1] - error[:, 1] * along_y[:, 0],
                         error[:, 1] * along_x[:, 0] - error[:, 0] * along_x[:, 1]], axis=1)
        step /= (along_x[:, 0] * along_y[:, 1] - along_x[:, 1] * along_y[:, 0])[:, None]
    return np.where(np.abs(step) < 0.5, step, 0.0)
