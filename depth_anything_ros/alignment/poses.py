"""
Poses as matrices [4, 4]: from parameters and quaternions, and interpolated between measured ones.

A matrix transforms points of the frame that moves to the frame in which it moves.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from depth_anything_ros.arrays import F64
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.vision.geometry import quaternion_pose
import numpy as np

_KEPT_S, _MOST = 10.0, 4000
# Stamps [s] within this are equal: as floats they have microseconds.
_SAME_S = 2e-6
# The sine of a smaller angle [rad] is the angle, so that slerp would divide by next to nothing.
_SMALL_ANGLE = 1e-4


def pose_matrix(xyz_rpy: Sequence[float]) -> F64:
    """Return the pose x, y, z [m], roll, pitch, yaw [rad] about fixed axes (REP 103)."""
    x, y, z, roll, pitch, yaw = xyz_rpy
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(2, yaw) @ _rotation(1, pitch) @ _rotation(0, roll)
    matrix[:3, 3] = x, y, z
    return matrix


def measured_pose(xyz: Sequence[float], xyzw: Sequence[float]) -> F64:
    """Return the pose of a position [m] and a quaternion; AlignmentError if it has no length."""
    return quaternion_pose(xyz, _unit(xyzw).tolist())


def _rotation(axis: int, angle: float) -> F64:
    """Return the rotation [3, 3] by ``angle`` [rad] about x (0), y (1) or z (2)."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first] = np.sin(angle)
    matrix[first, second] = -np.sin(angle)
    return matrix


def _unit(xyzw: Sequence[float]) -> F64:
    quaternion = np.asarray(xyzw, np.float64)
    length = float(np.linalg.norm(quaternion))
    if not np.isfinite(length) or length == 0:
        raise AlignmentError('a pose has a quaternion that is not a rotation; correct its '
                             'publisher')
    return quaternion / length


@dataclass(frozen=True)
class _Pose:
    stamp_s: float
    xyz: F64
    xyzw: F64


class PoseBuffer:
    """Measured poses of the last 10 s, interpolated; not thread-safe."""

    def __init__(self) -> None:
        self._poses: deque[_Pose] = deque(maxlen=_MOST)

    @property
    def newest_s(self) -> float | None:
        """Return the stamp of the newest pose [s], None if there is none."""
        return self._poses[-1].stamp_s if self._poses else None

    def clear(self) -> None:
        """Forget all poses."""
        self._poses.clear()

    def add(self, stamp_s: float, xyz: Sequence[float], xyzw: Sequence[float]) -> None:
        """
        Add a pose that is newer than all others; an older one is ignored.

        AlignmentError if it is not finite.
        """
        position, quaternion = np.asarray(xyz, np.float64), _unit(xyzw)
        if not np.isfinite(position).all():
            raise AlignmentError('a pose has a position that is not finite; correct its publisher')
        if self._poses and stamp_s <= self._poses[-1].stamp_s:
            return
        self._poses.append(_Pose(stamp_s, position, quaternion))
        while self._poses[0].stamp_s < stamp_s - _KEPT_S:
            self._poses.popleft()

    def at(self, stamp_s: float, max_gap_s: float) -> F64:
        """
        Return the pose [4, 4] at ``stamp_s``, between two that are at most ``max_gap_s`` apart.

        The position is interpolated linearly, the rotation along the shortest arc (slerp,
        Shoemake, SIGGRAPH 1985). AlignmentError if there are no such two.
        """
        if not self._poses:
            raise AlignmentError('there is no pose yet')
        oldest_s, newest_s = self._poses[0].stamp_s, self._poses[-1].stamp_s
        if oldest_s - _SAME_S < stamp_s < newest_s + _SAME_S:
            stamp_s = min(max(stamp_s, oldest_s), newest_s)
        if stamp_s > newest_s:
            raise AlignmentError(f'the newest pose is {stamp_s - newest_s:.3f} s older than the '
                                 'image')
        if stamp_s < oldest_s:
            raise AlignmentError(f'the oldest pose is {oldest_s - stamp_s:.3f} s newer than the '
                                 'image')
        index = bisect_left(self._poses, stamp_s, key=lambda pose: pose.stamp_s)
        after = self._poses[index]
        if after.stamp_s - stamp_s < _SAME_S:
            return measured_pose(after.xyz.tolist(), after.xyzw.tolist())
        before = self._poses[index - 1]
        gap_s = after.stamp_s - before.stamp_s
        if gap_s > max_gap_s:
            raise AlignmentError(f'the poses before and after the image are {gap_s:.3f} s apart')
        share = (stamp_s - before.stamp_s) / gap_s
        xyz = before.xyz + share * (after.xyz - before.xyz)
        return measured_pose(xyz.tolist(), _slerp(before.xyzw, after.xyzw, share).tolist())


def _slerp(first: F64, second: F64, share: float) -> F64:
    """Return the unit quaternion at ``share`` (0 to 1) of the arc between two."""
    cosine = float(first @ second)
    if cosine < 0:  # the negative quaternion is the same rotation
        second, cosine = -second, -cosine
    angle = float(np.arccos(min(cosine, 1.0)))
    if angle < _SMALL_ANGLE:
        between: F64 = first + share * (second - first)
        return between
    between = np.sin((1 - share) * angle) * first + np.sin(share * angle) * second
    between /= np.sin(angle)
    return between
