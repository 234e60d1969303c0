"""
Metres from the floor, for a camera whose height above it and pitch are known.

A floor pixel with the ray (x, y, 1) has 1/z = (y cos p + sin p) / h, so that on the floor the
model's d is an affine function of x and y. That plane is found by RANSAC in the part of the view
where floor is to be expected. Nothing lies beyond the floor, and what stands on it is nearer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from depth_anything_ros.alignment.fit import Fit
from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.vision.geometry import Intrinsics, pixel_rays, Rays
import numpy as np
import numpy.typing as npt

_ROWS, _SCORED, _HYPOTHESES, _ROUNDS = 56, 400, 256, 6
# Floor is expected where the sine of the angle below the horizon, times the length of the ray, is
# above this; a plane may be tilted this much from where the pitch puts it.
_BELOW_HORIZON = 0.08
_TILT_RAD = np.radians(15)
# Shares of 1/z within which a pixel is floor: while planes compete, and afterwards.
_TOLERANCE, _NARROWEST, _WIDEST = 0.08, 0.02, 0.15
_DEVIATIONS, _MAD_TO_SIGMA = 3.0, 1.4826
_FEWEST, _LEAST_SHARE = 50, 0.2


@dataclass(frozen=True)
class _Mount:
    height_m: float
    pitch_rad: float
    with_shift: bool


@dataclass(frozen=True)
class _Planes:
    """Floors d = ``abc`` @ (x, y, 1), float64 [K, 3], with scale and shift [K] of each."""

    abc: F64
    scale: F64
    shift: F64


def fit_ground(inverse_depth: F32, camera: Intrinsics, height_m: float, pitch_rad: float,
               with_shift: bool,
               rays_of: Callable[[Intrinsics, int], Rays] = pixel_rays) -> Fit:
    """
    Return the fit of a map [H, W] to the floor ``height_m`` below the camera.

    ``camera`` is that of the map's own grid, ``pitch_rad`` the angle by which it looks below the
    horizon. Without a shift the tilt is read from the floor itself and the pitch only helps to
    find it. With one the pitch decides about the shift: an error of it is an error of
    cos(pitch) / height_m per radian in 1/z. ``support`` and ``outliers`` count the pixels of a
    coarse grid where floor is expected. ``rays_of`` may remember the rays, which take longer than
    the fit where the camera distorts.

    AlignmentError if floor is to be expected nowhere, or less than a fifth of that is floor.
    """
    mount = _Mount(height_m, pitch_rad, with_shift)
    rays, d = _expected_floor(inverse_depth, partial(rays_of, camera), pitch_rad)
    plane = _best(_hypotheses(rays, d, mount), rays, d)
    tolerance = _TOLERANCE
    for _ in range(_ROUNDS):
        floor = np.abs(_excess(rays, d, plane))[:, 0] < tolerance
        plane = _refined(rays[floor], d[floor], plane, mount)
        off = np.abs(_excess(rays, d, plane))[:, 0]
        sigma = _MAD_TO_SIGMA * float(np.median(off[floor]))
        tolerance = min(max(_DEVIATIONS * sigma, _NARROWEST), _WIDEST)
    floor = off < tolerance
    share = float(floor.mean()) if _is_floor(plane, mount).all() else 0.0
    if share < _LEAST_SHARE:
        raise _no_floor(share)
    scale, shift = float(plane.scale[0]), float(plane.shift[0])
    far, near = np.percentile(scale * d[floor] + shift, (10, 90))
    return Fit(scale, shift, int(floor.sum()), 1 - share, float(np.median(off[floor])),
               (float(far), float(near)))


def _expected_floor(inverse_depth: F32, rays_at: Callable[[int], Rays],
                    pitch_rad: float) -> tuple[F64, F64]:
    """Return rays [N, 3] and d [N] where floor is expected."""
    stride = max(1, inverse_depth.shape[0] // _ROWS)
    values = inverse_depth[::stride, ::stride].astype(np.float64)
    directions = rays_at(stride)
    x, y = np.broadcast_arrays(directions.x_over_z, directions.y_over_z)
    known = np.isfinite(values) & np.isfinite(x) & np.isfinite(y)
    expected = known & (y * np.cos(pitch_rad) + np.sin(pitch_rad) > _BELOW_HORIZON)
    if expected.sum() < _FEWEST:
        raise AlignmentError('no floor is to be expected in the view; check camera_pitch, '
                             'which is positive where the camera looks down, or choose '
                             'another alignment.source')
    rays = np.stack([x[expected], y[expected], np.ones(int(expected.sum()))], axis=1)
    return rays.astype(np.float64), values[expected]


def _hypotheses(rays: F64, d: F64, mount: _Mount) -> _Planes:
    """Return planes through three pixels that are tilted about as the floor must be."""
    drawn = np.random.default_rng(0).integers(0, len(d), (_HYPOTHESES, 3))
    corners = rays[drawn]
    drawn = drawn[np.abs(np.linalg.det(corners)) > 1e-6]
    if not len(drawn):
        raise _no_floor(0.0)
    planes = _measured(np.linalg.solve(rays[drawn], d[drawn][..., None])[..., 0], mount)
    possible = _is_floor(planes, mount)
    if not possible.any():
        raise _no_floor(0.0)
    return _Planes(planes.abc[possible], planes.scale[possible], planes.shift[possible])


def _is_floor(planes: _Planes, mount: _Mount) -> npt.NDArray[np.bool_]:
    """Return which planes are tilted about as the floor must be, [K]; a shift hides the pitch."""
    if mount.with_shift:
        along = planes.abc[:, 1]
        lengths = np.hypot(planes.abc[:, 0], planes.abc[:, 1])
    else:
        along = planes.abc @ (0.0, np.cos(mount.pitch_rad), np.sin(mount.pitch_rad))
        lengths = np.linalg.norm(planes.abc, axis=1)
    upright: npt.NDArray[np.bool_] = along > np.cos(_TILT_RAD) * lengths
    return upright


def _measured(abc: F64, mount: _Mount) -> _Planes:
    """Return the planes with what the mount makes of them in metres."""
    with np.errstate(divide='ignore', invalid='ignore'):
        if not mount.with_shift:
            scale = 1 / (mount.height_m * np.linalg.norm(abc, axis=1))
            return _Planes(abc, scale, np.zeros_like(scale))
        scale = np.cos(mount.pitch_rad) / (mount.height_m * np.hypot(abc[:, 0], abc[:, 1]))
        return _Planes(abc, scale, np.sin(mount.pitch_rad) / mount.height_m - scale * abc[:, 2])


def _best(planes: _Planes, rays: F64, d: F64) -> _Planes:
    """Return the plane with most pixels on it and fewest beyond."""
    scored = np.random.default_rng(0).permutation(len(d))[:_SCORED]
    excess = _excess(rays[scored], d[scored], planes)
    on, beyond = np.abs(excess) < _TOLERANCE, excess < -2 * _TOLERANCE
    best = [int((on.sum(axis=0) - beyond.sum(axis=0)).argmax())]
    return _Planes(planes.abc[best], planes.scale[best], planes.shift[best])


def _excess(rays: F64, d: F64, planes: _Planes) -> F64:
    """Return by which share 1/z of each pixel is above that of each plane, [N, K]."""
    floor = planes.scale * (rays @ planes.abc.T) + planes.shift
    excess = np.full_like(floor, np.inf)
    np.divide(planes.scale * d[:, None] + planes.shift, floor, out=excess, where=floor > 1e-9)
    return excess - 1


def _refined(rays: F64, d: F64, plane: _Planes, mount: _Mount) -> _Planes:
    """Return the least-squares plane of relative errors through its pixels."""
    if len(d) < _FEWEST:
        raise _no_floor(0.0)
    inverse_z = plane.scale * (rays @ plane.abc[0]) + plane.shift
    weighted = rays / inverse_z[:, None]
    abc = np.linalg.lstsq(weighted, d / inverse_z, rcond=None)[0]
    return _measured(abc[None], mount)


def _no_floor(share: float) -> AlignmentError:
    return AlignmentError(
        f'{100 * share:.0f} % of the view below the horizon is floor, {100 * _LEAST_SHARE:.0f} % '
        'must be; point the camera at free floor and check camera_height and camera_pitch')
