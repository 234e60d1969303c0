"""
Camera geometry: intrinsics, lens distortion, projection of points, rays of pixels.

Points are in the optical frame of REP 103: x right, y down, z forward. Distortion models are
those of sensor_msgs/CameraInfo, computed by OpenCV.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TypeVar

import cv2
from depth_anything_ros.arrays import Bools, F32, F64, U8
from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.vision.depth import metric_from_inverse
from depth_anything_ros.vision.transforms import (
    image_content, model_input_hw, output_grid, OutputGrid)
import numpy as np

# OpenCV computes both polynomial models by one formula, with any of these numbers of coefficients:
# k1, k2, p1, p2, k3, k4 to k6, s1 to s4 (thin prism), tau_x and tau_y (tilted sensor).
_POLYNOMIAL = (4, 5, 8, 12, 14)
_COEFFICIENTS = {'plumb_bob': _POLYNOMIAL, 'rational_polynomial': _POLYNOMIAL, 'equidistant': (4,)}
_USUAL_NUMBER = {'plumb_bob': 5, 'rational_polynomial': 8, 'equidistant': 4}
_OTHER_NAMES = {'': 'plumb_bob', 'fisheye': 'equidistant'}
_NEWTON_STEPS, _NEWTON_ERROR = 6, 1e-6
# Angles between the axis of a lens and its side, of which the ones of pixels are interpolated.
_ANGLES = 4096
_ROUND_TRIP_PX = 0.05
# Rows and columns of pixels that show whether a distortion can be inverted: an even number,
# because any can be in the middle.
_CHECKED_POINTS = 8
Pixels = TypeVar('Pixels', Bools, F32)


def quaternion_pose(xyz: Sequence[float], xyzw: Sequence[float]) -> F64:
    """
    Return the pose [4, 4] of a position [m] and a quaternion.

    ValueError if the quaternion has no finite length.
    """
    quaternion = np.asarray(xyzw, np.float64)
    with np.errstate(over='ignore'):
        length = float(np.linalg.norm(quaternion))
    if not np.isfinite(length) or length == 0:
        raise ValueError('the quaternion is not a rotation')
    x, y, z, w = quaternion / length
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] += 2 * w * cross + 2 * cross @ cross
    matrix[:3, 3] = xyz
    return matrix


@dataclass(frozen=True)
class Distortion:
    """
    ``distortion_model`` and ``d`` of a sensor_msgs/CameraInfo, as OpenCV takes them.

    An empty model is plumb_bob, and fisheye is equidistant. Zeros after the last coefficient that
    the model knows are removed, and missing coefficients are zeros if there are only zeros.
    CameraInfoError for an unknown model, another number of coefficients or one that is not finite.
    """

    model: str
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        model = _OTHER_NAMES.get(self.model, self.model)
        if model not in _COEFFICIENTS:
            raise CameraInfoError(
                f'distortion model {model!r} is unknown; calibrate with one of '
                f'{", ".join(_COEFFICIENTS)}, or use rectified images')
        if not np.isfinite(self.coefficients).all():
            raise CameraInfoError(
                f'distortion model {model} has coefficients that are not finite; '
                'correct D in the calibration file, or use rectified images')
        object.__setattr__(self, 'model', model)
        object.__setattr__(self, 'coefficients', _accepted(model, self.coefficients))


def _accepted(model: str, coefficients: tuple[float, ...]) -> tuple[float, ...]:
    """Return the coefficients in a number that OpenCV takes; CameraInfoError if they have none."""
    numbers = _COEFFICIENTS[model]
    if len(coefficients) < numbers[0] and not any(coefficients):
        return (0.0,) * _USUAL_NUMBER[model]
    number = max((number for number in numbers if number <= len(coefficients)), default=0)
    if not number or any(coefficients[number:]):
        *first, last = map(str, numbers)
        raise CameraInfoError(
            f'distortion model {model} has {len(coefficients)} coefficients, it takes '
            f'{", ".join(first)}{" or " * bool(first)}{last}; correct D in the calibration file, '
            'or use rectified images')
    return coefficients[:number]


def bends_rays(model: str, coefficients: Sequence[float]) -> bool:
    """
    Return whether a lens differs from a pinhole.

    An equidistant one always does: without coefficients it puts equal angles at equal distances.
    """
    return any(coefficients) or _OTHER_NAMES.get(model, model) == 'equidistant'


@dataclass(frozen=True)
class Intrinsics:
    """
    Focal lengths and centre of a camera in pixels of an image of ``size_hw``, and its distortion.

    CameraInfoError if they are not finite or a focal length is not positive.
    """

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

    def on_grid(self, grid: OutputGrid) -> 'Intrinsics':
        """Return the intrinsics for the pixels of ``grid``."""
        (scale_x, scale_y), (offset_x, offset_y) = grid.scale_xy, grid.offset_xy
        return replace(self, fx=self.fx * scale_x, fy=self.fy * scale_y,
                       cx=self.cx * scale_x + offset_x, cy=self.cy * scale_y + offset_y,
                       size_hw=grid.size_hw)


def pinhole_camera(size_hw: tuple[int, int], fov_deg: float) -> Intrinsics:
    """Return a camera with square pixels and this horizontal field of view [degrees]."""
    height, width = size_hw
    focal_px = float(width / 2 / np.tan(np.radians(fov_deg / 2)))
    return Intrinsics(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, size_hw)


@dataclass(frozen=True)
class Rays:
    """
    Directions x/z and y/z of every ``stride``-th pixel.

    Both broadcast to [H', W']: they are [1, W'] and [H', 1] without distortion and [H', W'] with
    it, NaN where the distortion cannot be inverted.
    """

    x_over_z: F32
    y_over_z: F32
    stride: int

    def pick(self, values: Pixels) -> Pixels:
        """Return the values [H', W'] of these pixels of a map [H, W]."""
        return np.ascontiguousarray(values[::self.stride, ::self.stride])

    def pick_colors(self, image: U8) -> U8:
        """Return the colours [H', W', 3] of these pixels of an image [H, W, 3]."""
        height, width = image.shape[:2]
        if height % self.stride or width % self.stride:
            return np.ascontiguousarray(image[::self.stride, ::self.stride])
        # The same pixels, faster.
        return cv2.resize(  # type: ignore[return-value]
            image, (width // self.stride, height // self.stride), interpolation=cv2.INTER_NEAREST)

    @cached_property
    def outside(self) -> Bools | None:
        """Return where there is no direction, None if every pixel has one."""
        outside = np.isnan(self.x_over_z)
        return outside if outside.any() else None


def network_intrinsics(camera: Intrinsics, network_hw: tuple[int, int]) -> Intrinsics:
    """Return the intrinsics for the pixels of the network's output map."""
    return camera.on_grid(output_grid('native', 1, camera.size_hw, network_hw))


def focal_scale(info: ModelInfo, camera: Intrinsics, depth_hw: tuple[int, int]) -> float:
    """
    Return the scale [1/m] in 1/z = scale * d of a model whose metres need the focal length.

    d is its inverse depth in a map of ``depth_hw``. The focal length is that of the network's
    image, into which the image of ``camera`` was resized, the mean of both axes.
    """
    assert info.focal_px is not None
    per_pixel = 1.0 if info.output_multiple is None else info.patch_multiple / info.output_multiple
    return info.focal_px / mean_focal(camera, (per_pixel * depth_hw[0], per_pixel * depth_hw[1]))


def image_focal_scale(info: ModelInfo, camera: Intrinsics, input_size: int) -> float:
    """
    Return ``focal_scale`` of the model's own map of a whole image.

    ``input_size`` is that of the network, 0 for the default of the model.
    """
    assert info.focal_px is not None
    network_hw = model_input_hw(info, camera.size_hw, input_size)
    content = image_content(info.input_rule, camera.size_hw, network_hw)
    return info.focal_px / mean_focal(camera, (content.height, content.width))


def image_focal_metres(info: ModelInfo, camera: Intrinsics, inverse_depth: F32,
                       input_size: int) -> F32:
    """
    Return depth [m] of a model that needs the focal length, +inf at and beyond infinity.

    ``inverse_depth`` [H, W] is its map of a whole image, ``input_size`` as ``image_focal_scale``.
    """
    return metric_from_inverse(inverse_depth, image_focal_scale(info, camera, input_size), 0.0,
                               beyond=np.inf)


def mean_focal(camera: Intrinsics, size_hw: tuple[float, float]) -> float:
    """Return the mean of both focal lengths of a camera in pixels of its image at another size."""
    return (camera.fx * size_hw[1] / camera.size_hw[1]
            + camera.fy * size_hw[0] / camera.size_hw[0]) / 2


def pixel_rays(camera: Intrinsics, stride: int) -> Rays:
    """Return the rays of every ``stride``-th column and row."""
    height, width = camera.size_hw
    x = (np.arange(0, width, stride, dtype=np.float64) - camera.cx) / camera.fx
    y = (np.arange(0, height, stride, dtype=np.float64) - camera.cy) / camera.fy
    if camera.distortion is None:
        return Rays(x[None, :].astype(np.float32), y[:, None].astype(np.float32), stride)
    distorted = np.stack(np.meshgrid(x, y), axis=-1)
    rays = _rays_before_lens(distorted.reshape(-1, 2), camera, camera.distortion)
    rays = rays.reshape(distorted.shape).astype(np.float32)
    return Rays(np.ascontiguousarray(rays[..., 0]), np.ascontiguousarray(rays[..., 1]), stride)


def undistorted_rays(pixels: F64, camera: Intrinsics) -> F64:
    """
    Return x/z and y/z [N, 2], float64, of the points that are seen at column and row [N, 2].

    NaN where the distortion cannot be inverted.
    """
    distorted = (pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    if camera.distortion is None:
        return distorted
    return _rays_before_lens(distorted, camera, camera.distortion)


@lru_cache(maxsize=8)
def check_distortion(camera: Intrinsics) -> None:
    """Raise CameraInfoError if the distortion cannot be inverted anywhere in the image."""
    height, width = camera.size_hw
    columns, rows = np.meshgrid(np.linspace(0, width - 1, _CHECKED_POINTS),
                                np.linspace(0, height - 1, _CHECKED_POINTS))
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)
    if np.isnan(undistorted_rays(pixels, camera)).all():
        assert camera.distortion is not None
        raise CameraInfoError(
            f'the distortion of the lens ({camera.distortion.model}, D '
            f'{", ".join(f"{one:g}" for one in camera.distortion.coefficients)}) cannot be '
            'inverted anywhere in the image; calibrate it again')


def _rays_before_lens(distorted: F64, camera: Intrinsics, distortion: Distortion) -> F64:
    """Return x/z and y/z [N, 2] before the distortion, NaN where it cannot be inverted."""
    undistorted = _undistort(distorted, distortion)
    missed_px = (_distort(undistorted, distortion) - distorted) * camera.fx
    wrong = ~(np.abs(missed_px).max(axis=1) < _ROUND_TRIP_PX)
    undistorted[wrong | (np.hypot(*undistorted.T) > _largest_radius(distortion))] = np.nan
    return undistorted


class RayCache:
    """Keeps the rays of one camera until it changes, because distortion makes them slow."""

    def __init__(self) -> None:
        self._cached: tuple[Intrinsics, int, Rays] | None = None

    def get(self, camera: Intrinsics, stride: int) -> Rays:
        """Return the result of ``pixel_rays``, which runs only when an argument changes."""
        if self._cached is None or self._cached[:2] != (camera, stride):
            self._cached = (camera, stride, pixel_rays(camera, stride))
        return self._cached[2]


def project(points_xyz: F64, camera: Intrinsics) -> F64:
    """
    Return column and row [N, 2], float64, of points [N, 3] in metres in the optical frame.

    NaN for points that are not in front of the camera, and for points so far outside the view that
    the distortion would move them back into the image.
    """
    points = np.asarray(points_xyz, np.float64).reshape(-1, 3)
    with np.errstate(divide='ignore', invalid='ignore'):
        undistorted = points[:, :2] / points[:, 2:]
    undistorted[~(points[:, 2] > 0) | ~np.isfinite(undistorted).all(axis=1)] = np.nan
    if camera.distortion is not None:
        undistorted[np.hypot(*undistorted.T) > _largest_radius(camera.distortion)] = np.nan
        known = np.isfinite(undistorted).all(axis=1)
        undistorted[known] = _distort(undistorted[known], camera.distortion)
    return undistorted * (camera.fx, camera.fy) + (camera.cx, camera.cy)


def _largest_radius(distortion: Distortion) -> float:
    """Return the radius in x/z from which on the distortion moves points inwards again."""
    d = distortion.coefficients
    if distortion.model != 'equidistant':
        # Tangential, thin prism and tilt coefficients do not depend on the radius alone.
        d = (*d[:2], 0.0, 0.0, *d[4:8])
    radii = np.geomspace(1e-3, 1e3, 3000)
    distorted = _distort(np.stack([radii, np.zeros_like(radii)], axis=1),
                         replace(distortion, coefficients=d))[:, 0]
    folds = np.flatnonzero(~(np.diff(distorted) > 0))
    return float(radii[folds[0]]) if folds.size else np.inf


def _distort(undistorted: F64, distortion: Distortion) -> F64:
    """Return x/z and y/z [N, 2] after the distortion."""
    if not len(undistorted):
        return undistorted
    points = np.concatenate([undistorted, np.ones((len(undistorted), 1))], axis=1)[:, None]
    zero, eye = np.zeros(3), np.eye(3)
    coefficients = np.asarray(distortion.coefficients)
    if distortion.model == 'equidistant':
        distorted, _ = cv2.fisheye.projectPoints(points, zero, zero, eye, coefficients)
    else:
        distorted, _ = cv2.projectPoints(points, zero, zero, eye, coefficients)
    return np.asarray(distorted, np.float64).reshape(-1, 2)


def _undistort(distorted: F64, distortion: Distortion) -> F64:
    """
    Return x/z and y/z [N, 2] before the distortion; wrong where that does not converge.

    The number of iterations in OpenCV depends on its version, so Newton's method finishes them.
    """
    if not len(distorted):
        return distorted
    undistorted = (_straightened if distortion.model == 'equidistant' else _undistort_polynomial)(
        distorted, distortion)
    for _ in range(_NEWTON_STEPS):
        error = np.abs(_distort(undistorted, distortion) - distorted).max(axis=1)
        wrong = np.flatnonzero(~(error < _NEWTON_ERROR))
        if not wrong.size:
            break
        undistorted[wrong] -= _newton_step(undistorted[wrong], distorted[wrong], distortion)
    return undistorted


def _undistort_polynomial(distorted: F64, distortion: Distortion) -> F64:
    """Return about x/z and y/z [N, 2] before the distortion."""
    found = cv2.undistortPoints(np.ascontiguousarray(distorted[:, None]), np.eye(3),
                                np.asarray(distortion.coefficients))
    return np.array(found, np.float64).reshape(-1, 2)


def _straightened(distorted: F64, distortion: Distortion) -> F64:
    """
    Return about x/z and y/z [N, 2] before the distortion of an equidistant lens.

    OpenCV gives up where the distance from the centre is above pi / 2 and the angle is not.
    """
    radius = np.hypot(*distorted.T)
    angles = np.interp(radius, *_angles_by_radius(distortion))
    scale = np.divide(np.tan(angles), radius, out=np.ones_like(radius), where=radius > 0)
    straight: F64 = distorted * scale[:, None]
    return straight


@lru_cache(maxsize=8)
def _angles_by_radius(distortion: Distortion) -> tuple[F64, F64]:
    """Return rising distances from the centre of an equidistant lens, and the angles there."""
    slopes = np.tan(np.linspace(0, np.pi / 2, _ANGLES, endpoint=False))
    radii = _distort(np.stack([slopes, np.zeros_like(slopes)], axis=1), distortion)[:, 0]
    rising = np.append(np.diff(radii) > 0, False)
    known = slice(0, int(rising.argmin()) + 1)
    return radii[known], np.arctan(slopes[known])


def _newton_step(undistorted: F64, distorted: F64, distortion: Distortion) -> F64:
    """Return the step [N, 2] of Newton's method for the equation distort(u) = ``distorted``."""
    small = 1e-6
    here = _distort(undistorted, distortion)
    along_x = (_distort(undistorted + (small, 0), distortion) - here) / small
    along_y = (_distort(undistorted + (0, small), distortion) - here) / small
    error = here - distorted
    with np.errstate(all='ignore'):
        step = np.stack([error[:, 0] * along_y[:, 1] - error[:, 1] * along_y[:, 0],
                         error[:, 1] * along_x[:, 0] - error[:, 0] * along_x[:, 1]], axis=1)
        step /= (along_x[:, 0] * along_y[:, 1] - along_x[:, 1] * along_y[:, 0])[:, None]
    return np.where(np.abs(step) < 0.5, step, 0.0)
