"""Where a reference sensor is seen from the camera: by TF, or as the parameters say."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from depth_anything_ros.errors import AlignmentError, MissingDependencyError
import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.time import Time

F64 = npt.NDArray[np.float64]


class Frames(Protocol):
    """What knows the pose of one frame in another."""

    def pose(self, target: str, source: str, stamp: Any) -> F64:
        """Return the matrix [4, 4] that takes points of ``source`` into ``target``."""

    def close(self) -> None:
        """Stop listening."""


class FixedPose:
    """One pose for all: x, y, z [m], roll, pitch, yaw [rad], read anew with each call."""

    def __init__(self, read: Callable[[], Sequence[float]]) -> None:
        self._read = read

    def pose(self, target: str, source: str, stamp: Any) -> F64:
        """Return the matrix [4, 4] of the sensor in the camera's optical frame."""
        x, y, z, roll, pitch, yaw = self._read()
        matrix = np.eye(4)
        matrix[:3, :3] = _turn(2, yaw) @ _turn(1, pitch) @ _turn(0, roll)
        matrix[:3, 3] = x, y, z
        return matrix

    def close(self) -> None:
        """Do nothing: nothing was started."""


class TransformTree:
    """TF, by tf2_ros; MissingDependencyError where that is not installed."""

    def __init__(self, node: Node) -> None:
        try:
            from tf2_ros import Buffer, TransformException, TransformListener
        except ImportError as error:
            raise MissingDependencyError(
                'tf2_ros', 'alignment.reference_frame tf',
                'sudo apt install ros-$ROS_DISTRO-tf2-ros-py, or set alignment.reference_frame '
                'to fixed and alignment.reference_pose') from error
        self._lookup_error = TransformException
        self._buffer = Buffer(node=node)
        self._listener = TransformListener(self._buffer, node)

    def pose(self, target: str, source: str, stamp: Any) -> F64:
        """Return the matrix [4, 4] at ``stamp``; AlignmentError if TF does not know it."""
        try:
            found = self._buffer.lookup_transform(target, source, Time.from_msg(stamp))
        except self._lookup_error as error:
            raise AlignmentError(
                f'TF does not know {source} in {target} at the time of the reference ({error}); '
                'publish that transform or set alignment.reference_frame to fixed') from error
        move, turn = found.transform.translation, found.transform.rotation
        matrix = np.eye(4)
        matrix[:3, :3] = _from_quaternion(turn.x, turn.y, turn.z, turn.w)
        matrix[:3, 3] = move.x, move.y, move.z
        return matrix

    def close(self) -> None:
        """Stop listening to /tf and /tf_static."""
        self._listener.unregister()


def _turn(axis: int, angle: float) -> F64:
    """Return the rotation [3, 3] by ``angle`` [rad] about x (0), y (1) or z (2)."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first] = np.sin(angle)
    matrix[first, second] = -np.sin(angle)
    return matrix


def _from_quaternion(x: float, y: float, z: float, w: float) -> F64:
    vector, length = np.array([x, y, z]), float(np.sqrt(x * x + y * y + z * z + w * w))
    if length == 0:
        raise AlignmentError('TF holds a rotation of zero length; mend its publisher')
    vector, w = vector / length, w / length
    cross = np.array([[0, -vector[2], vector[1]], [vector[2], 0, -vector[0]],
                      [-vector[1], vector[0], 0]])
    matrix: F64 = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    return matrix
