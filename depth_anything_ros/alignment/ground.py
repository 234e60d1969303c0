"""
Metres from the floor, for a camera with known height above the floor and known pitch.

A floor pixel with the ray (x, y, 1), pitch p and height h has 1/z = (y cos p + sin p) / h, so on
the floor the model's d is an affine function of x and y. RANSAC finds this plane in the pixels
below the horizon. Nothing is farther than the floor, and objects on it are nearer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from depth_anything_ros.alignment.fit import (
    AlignmentFrame, Fit, FittedSamples, robust_sigma, Samples, tolerance)
from depth_anything_ros.arrays import Bools, F32, F64
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.parameters import Settings
from depth_anything_ros.vision.geometry import Intrinsics, pixel_rays, RayCache, Rays
import numpy as np

_ROWS, _SCORED, _HYPOTHESES, _ROUNDS = 56, 400, 256, 6
# The floor is expected where the sine of the angle below the horizon, times the length of the ray,
# is above this. A plane may differ from the pitch by this angle.
_BELOW_HORIZON = 0.08
_TILT_RAD = np.radians(15)
# Relative errors of 1/z within which a pixel is floor: for the hypotheses, and for the fit.
_TOLERANCE, _WIDEST = 0.08, 0.15
# Of the view below the horizon, whatever the parameters are.
_MIN_PIXELS, _MIN_SHARE = 50, 0.2


class GroundSource:
    """The floor as an ``AlignmentSource``, with the parameters camera_height and camera_pitch."""

    def __init__(self, read_settings: Callable[[], Settings]) -> None:
        self._read_settings = read_settings
        self._rays = RayCache()

    def fit(self, frame: AlignmentFrame, with_shift: bool) -> Fit:
        """Return the fit of one frame to the floor; AlignmentError if there is none."""
        return self.measure(frame, with_shift).fit

    def measure(self, frame: AlignmentFrame, with_shift: bool) -> FittedSamples:
        """Return the fit of one frame and the pixels of the floor; AlignmentError as ``fit``."""
        settings = self._read_settings()
        mount = Mount(settings.camera_height, settings.camera_pitch, with_shift,
                      max(1 - settings.alignment.max_outliers, _MIN_SHARE))
        return measure_ground(frame.inverse_depth, frame.require_camera(), mount, self._rays.get)

    def close(self) -> None:
        """Do nothing: the floor needs no subscription."""


@dataclass(frozen=True)
class Mount:
    """
    Where the camera is, and what is asked of the floor.

    The optical axis points ``pitch_rad`` below the horizon, ``height_m`` above the floor.
    ``least_share`` of the view below the horizon must be floor.
    """

    height_m: float
    pitch_rad: float
    with_shift: bool
    least_share: float = _MIN_SHARE


@dataclass(frozen=True)
class _Planes:
    """Floors d = ``abc`` @ (x, y, 1), float64 [K, 3], with scale and shift [K] of each."""

    abc: F64
    scale: F64
    shift: F64


def fit_ground(inverse_depth: F32, camera: Intrinsics, height_m: float, pitch_rad: float,
               with_shift: bool) -> Fit:
    """
    Return the fit of a map [H, W] to the floor ``height_m`` below the camera.

    ``camera`` has the intrinsics of the map; its optical axis points ``pitch_rad`` below the
    horizon. Without a shift the tilt is measured on the floor itself, and the pitch only helps to
    find the floor. With a shift, a pitch error e in radians is an error of e cos(pitch) / height_m
    in 1/z. ``support`` and ``outliers`` count the pixels of a coarse grid where the floor is
    expected.

    AlignmentError if the floor is expected nowhere, or is less than a fifth of that area.
    """
    return measure_ground(inverse_depth, camera, Mount(height_m, pitch_rad, with_shift)).fit


def measure_ground(inverse_depth: F32, camera: Intrinsics, mount: Mount,
                   rays_of: Callable[[Intrinsics, int], Rays] = pixel_rays) -> FittedSamples:
    """
    Return the fit of ``fit_ground`` and the pixels of the floor, with the 1/z of the floor.

    ``rays_of`` may cache the rays, which take longer than the fit with distortion.
    """
    rays, d = _expected_floor(inverse_depth, partial(rays_of, camera), mount.pitch_rad)
    plane = _best(_hypotheses(rays, d, mount), rays, d)
    limit = _TOLERANCE
    for _ in range(_ROUNDS):
        floor = np.abs(_excess(rays, d, plane))[:, 0] < limit
        plane = _refined(rays[floor], d[floor], plane, mount)
        residual = np.abs(_excess(rays, d, plane))[:, 0]
        limit = tolerance(robust_sigma(residual[floor]), _WIDEST)
    floor = residual < limit
    share = float(floor.mean()) if _is_floor(plane, mount).all() else 0.0
    if share < mount.least_share:
        raise _no_floor(mount, share)
    scale, shift = float(plane.scale[0]), float(plane.shift[0])
    far, near = np.percentile(scale * d[floor] + shift, (10, 90))
    fit = Fit(scale, shift, int(floor.sum()), 1 - share, float(np.median(residual[floor])),
              (float(far), float(near)))
    return FittedSamples(fit, Samples(d[floor], scale * (rays[floor] @ plane.abc[0]) + shift))


def _expected_floor(inverse_depth: F32, rays_at: Callable[[int], Rays],
                    pitch_rad: float) -> tuple[F64, F64]:
    """Return rays [N, 3] and d [N] of the pixels where the floor is expected."""
    stride = max(1, inverse_depth.shape[0] // _ROWS)
    values = inverse_depth[::stride, ::stride].astype(np.float64)
    directions = rays_at(stride)
    x, y = np.broadcast_arrays(directions.x_over_z, directions.y_over_z)
    known = np.isfinite(values) & np.isfinite(x) & np.isfinite(y)
    expected = known & (y * np.cos(pitch_rad) + np.sin(pitch_rad) > _BELOW_HORIZON)
    if expected.sum() < _MIN_PIXELS:
        raise AlignmentError('the camera cannot see the floor; check camera_pitch, which is '
                             'positive if the camera looks down, or choose another '
                             'alignment.source')
    rays = np.stack([x[expected], y[expected], np.ones(int(expected.sum()))], axis=1)
    return rays.astype(np.float64), values[expected]


def _hypotheses(rays: F64, d: F64, mount: Mount) -> _Planes:
    """Return planes through three pixels with about the tilt of the floor."""
    drawn = np.random.default_rng(0).integers(0, len(d), (_HYPOTHESES, 3))
    corners = rays[drawn]
    drawn = drawn[np.abs(np.linalg.det(corners)) > 1e-6]
    if not len(drawn):
        raise _no_floor(mount)
    planes = _measured(np.linalg.solve(rays[drawn], d[drawn][..., None])[..., 0], mount)
    possible = _is_floor(planes, mount)
    if not possible.any():
        raise _no_floor(mount)
    return _Planes(planes.abc[possible], planes.scale[possible], planes.shift[possible])


def _is_floor(planes: _Planes, mount: Mount) -> Bools:
    """Return which planes [K] have about the tilt of the floor, with a shift only its roll."""
    if mount.with_shift:
        along = planes.abc[:, 1]
        lengths = np.hypot(planes.abc[:, 0], planes.abc[:, 1])
    else:
        along = planes.abc @ (0.0, np.cos(mount.pitch_rad), np.sin(mount.pitch_rad))
        lengths = np.linalg.norm(planes.abc, axis=1)
    upright: Bools = along > np.cos(_TILT_RAD) * lengths
    return upright


def _measured(abc: F64, mount: Mount) -> _Planes:
    """Return the planes with their scale and shift for this height and pitch."""
    with np.errstate(divide='ignore', invalid='ignore'):
        if not mount.with_shift:
            scale = 1 / (mount.height_m * np.linalg.norm(abc, axis=1))
            return _Planes(abc, scale, np.zeros_like(scale))
        scale = np.cos(mount.pitch_rad) / (mount.height_m * np.hypot(abc[:, 0], abc[:, 1]))
        return _Planes(abc, scale, np.sin(mount.pitch_rad) / mount.height_m - scale * abc[:, 2])


def _best(planes: _Planes, rays: F64, d: F64) -> _Planes:
    """Return the plane with the most pixels on it and the fewest behind it."""
    scored = np.random.default_rng(0).permutation(len(d))[:_SCORED]
    excess = _excess(rays[scored], d[scored], planes)
    on, beyond = np.abs(excess) < _TOLERANCE, excess < -2 * _TOLERANCE
    best = [int((on.sum(axis=0) - beyond.sum(axis=0)).argmax())]
    return _Planes(planes.abc[best], planes.scale[best], planes.shift[best])


def _excess(rays: F64, d: F64, planes: _Planes) -> F64:
    """Return by how much 1/z of each pixel exceeds each plane, as a share of the plane: [N, K]."""
    floor = planes.scale * (rays @ planes.abc.T) + planes.shift
    excess = np.full_like(floor, np.inf)
    np.divide(planes.scale * d[:, None] + planes.shift, floor, out=excess, where=floor > 1e-9)
    return excess - 1


def _refined(rays: F64, d: F64, plane: _Planes, mount: Mount) -> _Planes:
    """Return the plane through the pixels with the least squared relative errors."""
    if len(d) < _MIN_PIXELS:
        raise _no_floor(mount)
    inverse_z = plane.scale * (rays @ plane.abc[0]) + plane.shift
    weighted = rays / inverse_z[:, None]
    abc = np.linalg.lstsq(weighted, d / inverse_z, rcond=None)[0]
    return _measured(abc[None], mount)


def _no_floor(mount: Mount, share: float = 0.0) -> AlignmentError:
    more = ', or raise alignment.max_outliers' if mount.least_share > _MIN_SHARE else ''
    return AlignmentError(
        f'{100 * share:.0f} % of the view below the horizon is floor, '
        f'{100 * mount.least_share:.0f} % are needed; point the camera at free floor and check '
        f'camera_height and camera_pitch{more}')
