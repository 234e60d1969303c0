"""The pose of one frame in another: from a parameter or from TF."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from depth_anything_ros.alignment.poses import pose_matrix, quaternion_pose
from depth_anything_ros.arrays import F64
from depth_anything_ros.errors import AlignmentError, MissingDependencyError
from rclpy.node import Node
from rclpy.time import Time


class PoseSource(Protocol):
    """Where the pose of the sensor in the camera's optical frame comes from."""

    def pose(self, target: str, source: str, stamp: Any) -> F64:
        """Return the matrix [4, 4] that transforms points of frame ``source`` to ``target``."""

    def clear(self) -> None:
        """Forget poses of the past, because the clock started over."""

    def close(self) -> None:
        """Release subscriptions."""


class FixedPose:
    """The pose of ``alignment.reference_pose``: x, y, z [m], roll, pitch, yaw [rad]."""

    def __init__(self, read_pose: Callable[[], Sequence[float]]) -> None:
        self._read_pose = read_pose

    def pose(self, target: str, source: str, stamp: Any) -> F64:
        """Return the matrix [4, 4] from the sensor to the camera's optical frame."""
        return pose_matrix(self._read_pose())

    def clear(self) -> None:
        """Do nothing: the pose does not change with time."""

    def close(self) -> None:
        """Do nothing: there is no subscription."""


class TfPoses:
    """
    The poses of TF, by tf2_ros; MissingDependencyError if that is not installed.

    ``purpose`` is the parameter that needs TF, ``instead`` what a user can do without it.
    """

    def __init__(self, node: Node, purpose: str, instead: str) -> None:
        try:
            from tf2_ros import Buffer, TransformException, TransformListener
        except ImportError as error:
            raise MissingDependencyError(
                'tf2_ros', purpose,
                f'sudo apt install ros-$ROS_DISTRO-tf2-ros-py, or {instead}') from error
        self._instead = instead
        self._transform_error = TransformException
        # With a node, the buffer would create a service and a callback of the node's clock, and
        # nothing would remove them.
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)

    def pose(self, target: str, source: str, stamp: Any) -> F64:
        """Return the matrix [4, 4] at ``stamp``; AlignmentError if TF has no such transform."""
        try:
            found = self._buffer.lookup_transform(target, source, Time.from_msg(stamp))
        except self._transform_error as error:
            raise AlignmentError(
                f'TF has no transform from {source} to {target} at the required time ({error}); '
                f'publish it or {self._instead}') from error
        xyz, turn = found.transform.translation, found.transform.rotation
        return quaternion_pose((xyz.x, xyz.y, xyz.z), (turn.x, turn.y, turn.z, turn.w))

    def newest_s(self, target: str, source: str) -> float | None:
        """Return the newest time [s] with a transform, 0 for a static one, None without one."""
        try:
            newest = self._buffer.get_latest_common_time(target, source)
        except self._transform_error:
            return None
        return float(newest.nanoseconds * 1e-9)

    def clear(self) -> None:
        """Forget the transforms of /tf, because TF refuses older ones than it has."""
        self._buffer.clear()

    def close(self) -> None:
        """Unsubscribe from /tf and /tf_static, and release the transforms; idempotent."""
        self._listener.unregister()
        self._buffer.clear()
        # The buffer refers to itself by the callback that it leaves at its clock.
        jump_handle = getattr(self._buffer, 'jump_handle', None)
        if jump_handle is not None:
            jump_handle.unregister()
            self._buffer.jump_handle = None
