"""
Metres from the motion of the camera: points tracked in the images and triangulated.

The robot knows how far its camera moved between two images, by wheel odometry, VIO or SLAM. A
point that both images show is then triangulated to metres (Hartley and Zisserman, Multiple View
Geometry, chapter 12). Nothing here knows ROS or the depth network: ``MotionTracker`` takes images
with poses and returns samples of 1/z, and ``motion_fit.MotionFitter`` fits depth maps to them.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
from depth_anything_ros.alignment.point_tracks import along_edge, PointTracks
from depth_anything_ros.alignment.triangulation import (
    contradiction, epipolar_directions, Errors, Motions, nearest_known, ray_angles,
    relative_motions, rotation_angles, triangulate, turned_rays)
from depth_anything_ros.arrays import F64, U8
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.vision.geometry import Intrinsics, undistorted_rays
import numpy as np

_RANGES = {
    'tracked_width': (160, 1280), 'points': (50, 2000), 'key_frames': (1, 12),
    'max_forward_backward': (0.1, 10), 'max_epipolar_error': (0.1, 20), 'min_parallax': (0.1, 20),
    'min_epipole_angle': (0, 45), 'min_baseline': (0.001, 10), 'min_points': (5, 1000),
    'max_gap': (0.01, 60), 'max_speed': (0.01, 1000), 'max_turn': (0.01, 100),
    'max_acceleration': (0.1, 1000),
    'rotation_error': (0, 10), 'translation_error': (0, 1)}
# Standard deviation of a tracked point [px].
_RAY_ERROR_PX = 0.5
# A new key frame is made if the points moved by this multiple of the smallest parallax, or if no
# more than this share of the points of the newest one is alive. One with fewer points is dropped.
_KEY_PARALLAX, _KEY_ALIVE, _LEAST_ALIVE = 1.0, 0.7, 15
# Largest error of a point along its epipolar line, relative to that of a corner: one that slides
# along an edge has any distance, and no epipolar error.
_MAX_ALONG_EDGE = 6.0
# This many contradictions in a row end all key frames.
_CONTRADICTIONS = 2
_TURNED_DEG, _JITTER_M = 3.0, 0.05
# No point is far enough from the borders of a smaller image [px].
_SMALLEST_SIDE = 16

# samples: points for a fit. All others have none, and the last alignment should be held:
# start: first image after the start or a reset. still: the camera has not moved far enough since
# then. rotation: it only turned, or moved too little for the distance of what it sees. few_tracks:
# too few points could be followed. contradiction: odometry and images disagree. gap: the time
# between two images is too long or negative. jump: the pose moved faster than the limits allow.
MotionState = Literal['samples', 'start', 'still', 'rotation', 'few_tracks', 'contradiction',
                      'gap', 'jump']


@dataclass(frozen=True)
class MotionSettings:
    """
    Limits of the motion source. Pixels are those of the tracked image.

    ``tracked_width``: longer side of the image in which points are tracked [px], 160 to 1280;
    smaller images are not enlarged. ``points``: number of points that are tracked, 50 to 2000.
    ``key_frames``: number of earlier images that points are triangulated with, 1 to 12.
    ``max_forward_backward`` [px]: a point tracked forth and back must return within this distance.
    ``max_epipolar_error`` [px]: largest Sampson error of a point against the motion.
    ``min_parallax`` [degrees]: smallest angle between the two rays of a point.
    ``min_epipole_angle`` [degrees]: points nearer to the direction of motion are left out.
    ``min_baseline`` [m]: a shorter motion is standing still.
    ``min_points``: fewer triangulated points are no samples.
    ``max_gap`` [s]: longest time between two images. ``max_speed`` [m/s] and ``max_turn`` [rad/s]:
    a pose that changes faster has jumped, and so has one whose speed changes by more than
    ``max_acceleration`` [m/s²], apart from 5 cm.
    ``rotation_error`` [degrees] and ``translation_error`` (share of the distance): expected errors
    of the odometry between two key frames, for the weights.
    """

    tracked_width: int = 480
    points: int = 250
    key_frames: int = 6
    max_forward_backward: float = 0.7
    max_epipolar_error: float = 1.5
    min_parallax: float = 1.0
    min_epipole_angle: float = 4.0
    min_baseline: float = 0.02
    min_points: int = 30
    max_gap: float = 1.0
    max_speed: float = 10.0
    max_turn: float = 10.0
    max_acceleration: float = 20.0
    rotation_error: float = 0.3
    translation_error: float = 0.05

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise AlignmentError(f'{name} is {value}; it must be from {low:g} to {high:g}')


@dataclass(frozen=True)
class MotionSamples:
    """
    Triangulated points of one image.

    ``pixels`` [N, 2] are column and row in the image that was given to ``MotionTracker.add``, with
    its distortion; ``inverse_z`` [N] is their 1/z [1/m] in the optical frame of that image, and
    ``weights`` [N] the inverse of its variance [m²]. N is 0 unless ``state`` is ``samples``;
    ``reason`` says then what is missing and what helps. ``size_hw`` is the size of the image,
    ``baseline_m`` the longest distance to a key frame that was used, ``tracked`` the number of
    points that are followed.
    """

    pixels: F64
    inverse_z: F64
    weights: F64
    size_hw: tuple[int, int]
    stamp_s: float
    state: MotionState
    reason: str
    tracked: int
    baseline_m: float

    @property
    def usable(self) -> bool:
        """Return whether there are samples."""
        return self.state == 'samples'


class MotionTracker:
    """
    Follows points through the images of one camera; not thread-safe, for a thread of its own.

    Each image costs a few ms of CPU, so that all of them can be given to ``add``, in the order of
    their stamps; the depth network may see fewer. Images may be skipped while the views overlap.
    ``settings`` may be replaced between two images, for another ``min_points``.
    """

    def __init__(self, settings: MotionSettings = MotionSettings()) -> None:
        self.settings = settings
        self._tracks = PointTracks(settings.points, settings.max_forward_backward)
        self._last: _View | None = None
        self._velocity: F64 | None = None
        self._to_tracked: F64 = np.ones(2)
        self._key_points = 0
        self._forget('start', 'the motion is observed from this image on; move the camera')

    def add(self, image: U8, camera: Intrinsics, odom_from_camera: F64,
            stamp_s: float) -> MotionSamples:
        """
        Follow the points into ``image`` and return those that can be triangulated.

        ``image`` is grey [H, W] or BGR [H, W, 3] at the resolution of ``camera``, which includes
        the distortion. ``odom_from_camera`` [4, 4] is the pose of the optical frame in a frame
        that does not jump, in metres: ``p_odom = odom_from_camera @ p_camera``, as TF looks up
        with target odom and source camera. ``stamp_s`` is the time of exposure of both.

        AlignmentError if the image, its size or the pose cannot be used; the state is unchanged
        then. CameraInfoError for a camera that is not calibrated comes from ``Intrinsics``.
        """
        _check(image, camera, odom_from_camera, stamp_s)
        pose = np.array(odom_from_camera, np.float64)
        view = _View(pose, stamp_s, camera)
        grey, self._to_tracked = _tracked_image(image, self.settings.tracked_width)
        broken = self._broken(view)
        if broken is not None:
            self._forget(*broken)
        if self._last is None:
            self._tracks.start(grey)
        else:
            self._follow(grey, self._last, view)
        self._last = view
        samples = self._triangulated(view)
        self._update_keys(view)
        return samples

    def reset(self, reason: str) -> None:
        """
        Forget all points and key frames, because of ``reason``.

        For example when odometry restarts or its covariance is too large. ``reason`` is that of
        the samples until the camera has moved far enough again.
        """
        self._forget('start', reason)

    def _forget(self, state: MotionState, reason: str) -> None:
        self._last = self._velocity = None
        self._started = (state, reason)
        self._contradictions = 0
        self._rays: F64 = np.empty((0, 2))
        self._inverse_z: F64 = np.empty(0)
        self._key_rays: F64 = np.empty((0, 0, 2))
        self._key_poses: F64 = np.empty((0, 4, 4))

    def _broken(self, view: '_View') -> tuple[MotionState, str] | None:
        """Return state and reason why ``view`` does not continue the last one, None if it does."""
        last, limits = self._last, self.settings
        if last is None:
            return None
        passed_s = view.stamp_s - last.stamp_s
        if not 0 < passed_s <= limits.max_gap:
            return 'gap', (f'{passed_s:.2f} s between two images, allowed are more than 0 and at '
                           f'most {limits.max_gap:g} s; check the rate of the camera and the '
                           'stamps')
        if view.camera != last.camera:
            return 'start', 'the size or the calibration of the camera has changed'
        motions = relative_motions(last.pose[None], view.pose)
        speed = float(motions.baseline_m[0]) / passed_s
        turn = float(rotation_angles(motions.rotation, np.eye(3)[None])[0]) / passed_s
        velocity = (view.pose[:3, 3] - last.pose[:3, 3]) / passed_s
        if self._velocity is not None:
            surplus_m = float(np.linalg.norm(velocity - self._velocity)) * passed_s
            if surplus_m > limits.max_acceleration * passed_s ** 2 + _JITTER_M:
                return 'jump', (
                    f'the pose of the camera jumped by {surplus_m:.2f} m within {passed_s:.2f} s; '
                    'use an odometry frame that does not jump')
        self._velocity = velocity
        if speed > limits.max_speed or turn > limits.max_turn:
            return 'jump', (f'the pose of the camera changed by {speed:.1f} m/s and {turn:.1f} '
                            f'rad/s, allowed are {limits.max_speed:g} m/s and '
                            f'{limits.max_turn:g} rad/s; use an odometry frame that does not jump')
        return None

    def _follow(self, grey: U8, last: '_View', view: '_View') -> None:
        """Follow the points from ``last``, searched where motion or rotation alone moves them."""
        motion = relative_motions(view.pose[None], last.pose)
        turned = turned_rays(self._rays, motion)[0]
        inverse_z = nearest_known(self._inverse_z, self._rays)
        moved = turned + inverse_z[:, None] * motion.translation_m[0]
        kept = self._tracks.follow(grey, self._expected(moved, view), self._expected(turned, view))
        self._key_rays, self._inverse_z = self._key_rays[:, kept], self._inverse_z[kept]
        self._rays = undistorted_rays(self._pixels(), view.camera)

    def _expected(self, places: F64, view: '_View') -> F64:
        """Return where the points [N, 2] are expected in the tracked image, by places [N, 3]."""
        with np.errstate(divide='ignore', invalid='ignore'):
            moved = places[:, :2] / places[:, 2:] - self._rays
        moved = np.where((places[:, 2:] > 0.1) & np.isfinite(moved), moved, 0.0)
        expected: F64 = self._tracks.pixels + moved * self._focal_xy(view.camera)
        return expected

    def _pixels(self) -> F64:
        """Return the points [N, 2] as pixels of the image that was given."""
        return (self._tracks.pixels + 0.5) / self._to_tracked - 0.5

    def _focal_xy(self, camera: Intrinsics) -> F64:
        """Return the focal lengths [2] in pixels of the tracked image."""
        lengths: F64 = self._to_tracked * (camera.fx, camera.fy)
        return lengths

    def _focal(self, camera: Intrinsics) -> float:
        """Return the focal length in pixels of the tracked image."""
        return float(np.sqrt(self._focal_xy(camera).prod()))

    def _triangulated(self, view: '_View') -> MotionSamples:
        limits, motions = self.settings, relative_motions(self._key_poses, view.pose)
        if not len(self._key_poses):
            return self._nothing(view, *self._started)
        if len(self._rays) < limits.min_points:
            return self._nothing(view, 'few_tracks', (
                f'{len(self._rays)} points could be followed, at least {limits.min_points} are '
                'needed; more light, texture or frames per second help'))
        far = motions.baseline_m >= limits.min_baseline
        if not far.any():
            return self._nothing(view, *self._unmoved(motions))
        errors = Errors(_RAY_ERROR_PX / self._focal(view.camera),
                        np.radians(limits.rotation_error), limits.translation_error)
        motions = Motions(motions.rotation[far], motions.translation_m[far])
        points = triangulate(self._key_rays[far], self._rays, motions, errors)
        moved = ((points.parallax >= np.radians(limits.min_parallax))
                 & (points.from_epipole >= np.radians(limits.min_epipole_angle)))
        number = int(moved.any(axis=0).sum())
        if number < limits.min_points:
            return self._nothing(view, 'rotation', (
                f'{number} points are seen from angles that differ by {limits.min_parallax:g} '
                f'degrees, at least {limits.min_points} are needed; move the camera further, '
                'sideways rather than ahead'))
        along = along_edge(self._tracks.structure(), epipolar_directions(self._rays, motions)
                           * self._focal_xy(view.camera))
        judged = moved & (along <= _MAX_ALONG_EDGE)
        number = int(judged.any(axis=0).sum())
        if number < limits.min_points:
            return self._nothing(view, 'few_tracks', (
                f'{number} points are not on edges along the motion, at least '
                f'{limits.min_points} are needed; more texture or another direction helps'))
        error_px = points.epipolar * self._focal(view.camera)
        good = judged & (error_px <= limits.max_epipolar_error) & (points.inverse_z > 0)
        problem = contradiction(points, good, number, _LEAST_ALIVE)
        if problem or good.any(axis=0).sum() < limits.min_points:
            self._contradictions += 1
            return self._nothing(view, 'contradiction', (
                f'{problem or "too few points move as the odometry says"}; check its frame, time '
                'offset and wheel slip, and the calibration of the camera'))
        self._contradictions = 0
        # Each point counts by the key frame with the smallest variance: that far away.
        variance = np.where(good, points.variance, np.inf)
        found = np.flatnonzero(good.any(axis=0))
        chosen = (variance.argmin(axis=0)[found], found)
        self._inverse_z = np.full(len(self._rays), np.nan)
        self._inverse_z[found] = points.inverse_z[chosen]
        return MotionSamples(
            self._pixels()[found], points.inverse_z[chosen], 1 / points.variance[chosen],
            view.camera.size_hw, view.stamp_s, 'samples', '', len(self._rays),
            float(motions.baseline_m[chosen[0]].max()))

    def _unmoved(self, motions: Motions) -> tuple[MotionState, str]:
        """Return why a camera that has not left its key frames gives no samples."""
        limits = self.settings
        angles = np.degrees(ray_angles(self._key_rays, turned_rays(self._rays, motions)))
        moved = max((float(np.nanmedian(row)) for row in angles
                     if np.isfinite(row).sum() >= _LEAST_ALIVE), default=0.0)
        if moved > limits.min_parallax + 2 * limits.rotation_error:
            return 'contradiction', (
                'the image moves while the odometry stands still; check that it is published and '
                'that its frame is fixed to the world')
        turn = np.degrees(rotation_angles(motions.rotation, np.eye(3)[None]).max())
        if turn > _TURNED_DEG:
            return 'rotation', 'the camera only turned; drive a little'
        return 'still', (f'the camera moved less than {limits.min_baseline:g} m; drive a little')

    def _nothing(self, view: '_View', state: MotionState, reason: str) -> MotionSamples:
        return MotionSamples(np.empty((0, 2)), np.empty(0), np.empty(0), view.camera.size_hw,
                             view.stamp_s, state, reason, len(self._rays), 0.0)

    def _update_keys(self, view: '_View') -> None:
        """Make the image a key frame if the newest one is far or lost many of its points."""
        if self._contradictions >= _CONTRADICTIONS:
            self._contradictions = 0
            self._key_rays = np.empty((0, len(self._rays), 2))
            self._key_poses = np.empty((0, 4, 4))
        if not self._needs_key(view):
            return
        if len(self._rays) > self.settings.points:
            kept = self._tracks.thin_out()
            self._key_rays, self._inverse_z = self._key_rays[:, kept], self._inverse_z[kept]
        added = self._tracks.add_corners()
        self._inverse_z = np.append(self._inverse_z, np.full(added, np.nan))
        self._rays = undistorted_rays(self._pixels(), view.camera)
        unseen = np.full((len(self._key_rays), added, 2), np.nan)
        rays = np.concatenate([np.concatenate([self._key_rays, unseen], axis=1),
                               self._rays[None]])
        poses = np.concatenate([self._key_poses, view.pose[None]])
        alive = np.isfinite(rays[:, :, 0]).sum(axis=1) >= _LEAST_ALIVE
        alive[-1] = True
        newest = np.flatnonzero(alive)[-self.settings.key_frames:]
        self._key_rays, self._key_poses = rays[newest], poses[newest]
        self._key_points = len(self._rays)

    def _needs_key(self, view: '_View') -> bool:
        if not len(self._key_poses):
            return True
        alive = np.isfinite(self._key_rays[-1, :, 0])
        if alive.sum() <= _KEY_ALIVE * self._key_points:
            return True
        turned = turned_rays(self._rays[alive], relative_motions(self._key_poses[-1:], view.pose))
        moved = np.nanmedian(ray_angles(self._key_rays[-1:, alive], turned))
        return bool(moved >= np.radians(_KEY_PARALLAX * self.settings.min_parallax))


@dataclass(frozen=True)
class _View:
    """Pose [4, 4] in odom, time and camera of an image."""

    pose: F64
    stamp_s: float
    camera: Intrinsics


def _tracked_image(image: U8, width: int) -> tuple[U8, F64]:
    """Return the grey image, longer side at most ``width``, and its scale [2]; AlignmentError."""
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    factor = min(1.0, width / max(grey.shape))
    height, width = (max(1, round(side * factor)) for side in grey.shape)
    if min(height, width) < _SMALLEST_SIDE:
        raise AlignmentError(f'no points can be followed in an image of {width}x{height} pixels, '
                             f'each side must have {_SMALLEST_SIDE}; use a larger image')
    if factor < 1:
        fine = cv2.INTER_LINEAR if factor > 0.5 else cv2.INTER_AREA
        grey = cv2.resize(grey, (width, height), interpolation=fine)
    scale = np.array([width / image.shape[1], height / image.shape[0]])
    return np.ascontiguousarray(grey, np.uint8), scale


def _check(image: U8, camera: Intrinsics, pose: F64, stamp_s: float) -> None:
    """Raise AlignmentError if one of the arguments of ``MotionTracker.add`` cannot be used."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise AlignmentError(f'an image of shape {image.shape} and type {image.dtype} cannot be '
                             'tracked; give uint8, [H, W] or [H, W, 3]')
    if image.shape[:2] != tuple(camera.size_hw):
        raise AlignmentError(
            f'the image has {image.shape[1]}x{image.shape[0]} pixels and its calibration is for '
            f'{camera.size_hw[1]}x{camera.size_hw[0]}; give the camera_info of this image')
    if not np.isfinite(stamp_s):
        raise AlignmentError(f'the stamp of the image is {stamp_s} s; it must be a finite number')
    pose = np.asarray(pose)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise AlignmentError('the pose of the camera must be a 4x4 matrix of finite numbers; '
                             'check the odometry')
    turn = pose[:3, :3]
    if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) or np.linalg.det(turn) < 0:
        raise AlignmentError('the pose of the camera is not a rotation and a translation; check '
                             'that its quaternion has length 1')
