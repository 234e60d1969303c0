"""Where a reference sensor is seen from the camera: by TF, or as the parameters say."""

from collections import deque
from collections.abc import Callable, Sequence
import threading
from typing import Any, Protocol

from depth_anything_ros.alignment.fit import Samples
from depth_anything_ros.alignment.references import (
    samples_from_depth, samples_from_points, samples_from_range)
from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.errors import AlignmentError, MissingDependencyError
from depth_anything_ros.inference.scheduler import CLOCK_RESTART_NS
from depth_anything_ros.node.camera_info import CameraView
from depth_anything_ros.parameters import AlignmentSettings
from depth_anything_ros.ros import qos
from depth_anything_ros.ros.messages import depth_in_metres, points_xyz
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.geometry import aligned_corners, Intrinsics
import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import Image, PointCloud2, Range
from std_msgs.msg import Header

KINDS: dict[str, type] = {'depth': Image, 'points': PointCloud2, 'range': Range}
_KEPT = 20


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


class Reference:
    """
    The subscription to one sensor and its latest messages.

    ``samples`` belongs to one thread; messages arrive on the executor's.
    """

    def __init__(self, node: Node, source: str, topic: str,
                 read_settings: Callable[[], AlignmentSettings],
                 warn: Callable[[str], None]) -> None:
        self._node = node
        self._read_settings = read_settings
        self._recent: deque[Any] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self._frames: Frames | None = None
        if source != 'depth':
            self._frames = (FixedPose(lambda: read_settings().reference_pose)
                            if read_settings().reference_frame == 'fixed'
                            else TransformTree(node))
        self._samples_of: Callable[..., Samples] = {
            'depth': self._of_depth, 'points': self._of_points, 'range': self._of_range}[source]
        self._topic = node.resolve_topic_name(topic)
        self._subscription: Any = node.create_subscription(
            KINDS[source], topic, self._keep, qos.reference_input(),
            qos_overriding_options=qos.overridable(),
            event_callbacks=qos.subscription_events(self._topic, warn))

    def close(self) -> None:
        """Unsubscribe; idempotent."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        if self._frames is not None:
            self._frames.close()

    def samples(self, header: Header, inverse_depth: F32, view: CameraView) -> Samples:
        """
        Return what the reference says about the map [H, W] that belongs to ``header``.

        ``view`` is that of the image. AlignmentError if no reference was taken near that time,
        ImageError and PointCloudError if it cannot be read.
        """
        return self._samples_of(self._nearest(header), header, inverse_depth, view)

    def _keep(self, message: Any) -> None:
        with self._lock:
            newest_s = stamp_s(self._recent[-1].header) if self._recent else 0.0
            if stamp_s(message.header) < newest_s - CLOCK_RESTART_NS * 1e-9:
                self._recent.clear()
            self._recent.append(message)

    def _nearest(self, header: Header) -> Any:
        wanted_s, limit_s = stamp_s(header), self._read_settings().max_time_difference
        with self._lock:
            recent = list(self._recent)
        if not recent:
            raise AlignmentError(f'nothing arrives on {self._topic}; check the sensor and its QoS')
        best = min(recent, key=lambda message: abs(stamp_s(message.header) - wanted_s))
        off_s = stamp_s(best.header) - wanted_s
        if abs(off_s) > limit_s:
            raise AlignmentError(
                f'the nearest message on {self._topic} is {off_s:+.3f} s from the image; check '
                f'the clocks or raise alignment.max_time_difference, which is {limit_s:g} s')
        return best

    def _limits(self) -> DepthRange:
        settings = self._read_settings()
        return DepthRange(max(settings.reference_min, 1e-6), settings.reference_max)

    def _of_depth(self, message: Image, header: Header, inverse_depth: F32,
                  view: CameraView) -> Samples:
        return samples_from_depth(inverse_depth, depth_in_metres(message), self._limits())

    def _of_points(self, message: PointCloud2, header: Header, inverse_depth: F32,
                   view: CameraView) -> Samples:
        pose = self._pose(message, header)
        points = points_xyz(message) @ pose[:3, :3].T + pose[:3, 3]
        return samples_from_points(inverse_depth, points, intrinsics_on_map(view, inverse_depth),
                                   self._limits())

    def _of_range(self, message: Range, header: Header, inverse_depth: F32,
                  view: CameraView) -> Samples:
        distance_m, limits = float(message.range), self._limits()
        low = max(limits.minimum_m, message.min_range)
        high = min(limits.maximum_m, message.max_range)
        if not low <= distance_m <= high:
            raise AlignmentError(f'the range sensor measures {distance_m:g} m, which is not '
                                 f'within {low:g} and {high:g} m')
        pose = self._pose(message, header)
        # REP 117 and sensor_msgs/Range: the sensor looks along x of its frame.
        centre = pose[:3, :3] @ np.array([distance_m, 0.0, 0.0]) + pose[:3, 3]
        radius_m = distance_m * float(np.tan(message.field_of_view / 2))
        return samples_from_range(inverse_depth, centre, radius_m, intrinsics_on_map(view, inverse_depth))

    def _pose(self, message: Any, header: Header) -> npt.NDArray[np.float64]:
        assert self._frames is not None
        return self._frames.pose(header.frame_id, message.header.frame_id, message.header.stamp)


def intrinsics_on_map(view: CameraView, inverse_depth: F32) -> Intrinsics:
    """Return the camera with the pixels of the network's map; AlignmentError if there is none."""
    if view.camera is None:
        raise AlignmentError(view.problem)
    height, width = inverse_depth.shape
    return aligned_corners(view.camera, (height, width))


def stamp_s(header: Header) -> float:
    """Return the stamp of a header in seconds."""
    return float(header.stamp.sec + header.stamp.nanosec * 1e-9)
