"""
Inverse depth of points that two cameras see, with known motion between them, in closed form.

All functions work on K earlier images, the key frames, and N points at once. Rays [..., 2] are
x/z and y/z without distortion, NaN where a point was not seen. A point with the ray r in the
camera has the place a + q t in the key frame, up to a factor: a = rotation @ (r, 1), t the
translation, q = 1/z in the camera. This is linear in q. Errors of rays are in radians, about.
"""

from dataclasses import dataclass
from typing import NamedTuple

from depth_anything_ros.arrays import Bools, F64
import numpy as np

# Share of the points that must move as the odometry says; logarithm of the ratio by which the
# depth by two key frames may differ, beyond what noise explains.
_AGREEING, _KEYS_DIFFER, _SIGMAS = 0.5, 0.1, 2.0


@dataclass(frozen=True)
class Motions:
    """Poses of the camera in K key frames: ``p_key = rotation @ p_camera + translation_m``."""

    rotation: F64
    translation_m: F64

    @property
    def baseline_m(self) -> F64:
        """Return the distances [K] of the camera from the key frames."""
        lengths: F64 = np.linalg.norm(self.translation_m, axis=-1)
        return lengths


class Errors(NamedTuple):
    """Standard deviations: rays of a point, rotation [rad], translation (share of distance)."""

    ray: float
    rotation: float
    translation: float


@dataclass(frozen=True)
class Triangulated:
    """
    Points in K key frames, each [K, N]; NaN where a key frame did not see the point.

    ``inverse_z`` [1/m] is in the camera and ``variance`` [1/m²] its variance; ``epipolar`` is the
    Sampson error [rad], ``parallax`` the angle between the rays [rad] and ``from_epipole`` that
    between the ray and the direction of motion [rad]. Points with an ``inverse_z`` <= 0 are behind
    the camera.
    """

    inverse_z: F64
    variance: F64
    epipolar: F64
    parallax: F64
    from_epipole: F64


def relative_motions(odom_from_keys: F64, odom_from_camera: F64) -> Motions:
    """Return the poses of a camera [4, 4] in key frames [K, 4, 4], all of them rigid."""
    to_key = odom_from_keys[:, :3, :3].swapaxes(1, 2)
    moved = odom_from_camera[:3, 3] - odom_from_keys[:, :3, 3]
    return Motions(to_key @ odom_from_camera[:3, :3], (to_key @ moved[..., None])[..., 0])


def triangulate(rays_key: F64, rays: F64, motions: Motions, errors: Errors) -> Triangulated:
    """Triangulate points with ``rays_key`` [K, N, 2] and ``rays`` [N, 2] in the camera."""
    seen = _homogeneous(rays_key)
    turned = turned_rays(rays, motions)
    moved = motions.translation_m[:, None]
    with np.errstate(divide='ignore', invalid='ignore'):
        normal = _cross(seen, moved)
        apart = _cross(seen, turned)
        # Least squares of seen x (turned + q moved) = 0, then one step for the reprojection.
        inverse_z = -_dot(normal, apart) / _dot(normal, normal)
        place = turned + inverse_z[..., None] * moved
        per_z = 1 / place[..., 2:]
        slope = (moved[..., :2] - place[..., :2] * per_z * moved[..., 2:]) * per_z
        missed = rays_key - place[..., :2] * per_z
        length2 = _dot(slope, slope)
        inverse_z = np.where(place[..., 2] > 0, inverse_z + _dot(slope, missed) / length2,
                             -np.abs(inverse_z))
        along = _cross(moved, turned)
        back = normal @ motions.rotation
        epipolar = _dot(turned, normal) / np.sqrt(_dot(along[..., :2], along[..., :2])
                                                  + _dot(back[..., :2], back[..., :2]))
        lengths = _length(turned)
        aside = _angle(along, lengths * motions.baseline_m[:, None])
        share = errors.translation * inverse_z
        variance = ((2 * errors.ray ** 2 + errors.rotation ** 2) / length2 + share ** 2
                    + (share / np.tan(aside)) ** 2)
    return Triangulated(inverse_z, variance, np.abs(epipolar),
                        _angle(apart, _length(seen) * lengths), aside)


def epipolar_directions(rays: F64, motions: Motions) -> F64:
    """Return directions [K, N, 2] of the epipolar lines through the rays [N, 2], in rays."""
    keys = -(motions.rotation.swapaxes(1, 2) @ motions.translation_m[..., None])[..., 0]
    directions: F64 = keys[:, None, :2] - rays * keys[:, None, 2:]
    return directions


def nearest_known(values: F64, rays: F64) -> F64:
    """Return the values [N] of points, those of the nearest ray [N, 2] for NaN; 0 without any."""
    known = np.isfinite(values)
    if not known.any():
        return np.zeros(len(values))
    found = values.copy()
    x, y = (rays[~known, None, axis] - rays[known, axis] for axis in (0, 1))
    found[~known] = values[known][(x * x + y * y).argmin(axis=1)]
    return found


def contradiction(points: Triangulated, good: Bools, number: int, fewest: int) -> str:
    """
    Return how points contradict the motion, of ``number`` that could be judged; '' if not.

    ``good`` [K, N] are those that do not. A key frame with less than ``fewest`` is not compared.
    """
    agreeing = int(good.any(axis=0).sum())
    if agreeing < _AGREEING * number:
        return f'{agreeing} of {number} points move as the odometry says'
    with np.errstate(divide='ignore', invalid='ignore'):
        relative = points.variance / points.inverse_z ** 2
        best = np.where(good, relative, np.inf).argmin(axis=0)
        nearest = np.take_along_axis(points.inverse_z, best[None], axis=0)
        ratios = np.abs(np.log(points.inverse_z / nearest))
    for row, (is_good, ratio) in enumerate(zip(good, ratios)):
        if is_good.sum() < fewest:
            continue
        off = float(np.median(ratio[is_good]))
        if off > _KEYS_DIFFER + _SIGMAS * float(np.sqrt(np.median(relative[row, is_good]))):
            return f'distances differ by {100 * np.expm1(off):.0f} % between two motions'
    return ''


def turned_rays(rays: F64, motions: Motions) -> F64:
    """Return the directions [K, N, 3] of the rays [N, 2] of the camera in the key frames."""
    turned: F64 = _homogeneous(rays) @ motions.rotation.swapaxes(1, 2)
    return turned


def ray_angles(rays_key: F64, turned: F64) -> F64:
    """Return the angles [K, N] in radians between rays [K, N, 2] and directions [K, N, 3]."""
    seen = _homogeneous(rays_key)
    return _angle(_cross(seen, turned), _length(seen) * _length(turned))


def rotation_angles(first: F64, second: F64) -> F64:
    """Return the angles [K] between rotations [K, 3, 3] in radians."""
    trace = np.einsum('kij,kij->k', first, second)
    angles: F64 = np.arccos(np.clip((trace - 1) / 2, -1, 1))
    return angles


def _homogeneous(rays: F64) -> F64:
    return np.concatenate([rays, np.ones((*rays.shape[:-1], 1))], axis=-1)


def _dot(first: F64, second: F64) -> F64:
    products: F64 = np.einsum('...i,...i->...', first, second)
    return products


def _cross(first: F64, second: F64) -> F64:
    """Return the cross product of the last axis, faster than np.cross."""
    x, y, z = (first[..., axis] for axis in range(3))
    u, v, w = (second[..., axis] for axis in range(3))
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)


def _length(vectors: F64) -> F64:
    return np.sqrt(_dot(vectors, vectors))


def _angle(cross: F64, lengths: F64) -> F64:
    """Return the angle from a cross product and the product of the lengths, 0 to 90 degrees."""
    return np.arcsin(np.clip(_length(cross) / lengths, 0, 1))
