"""The pose of a camera at the stamps of its images: from TF or from nav_msgs/Odometry."""

from collections.abc import Callable
import threading
from typing import Any, Protocol

from depth_anything_ros.alignment.poses import pose_matrix, PoseBuffer
from depth_anything_ros.arrays import F64
from depth_anything_ros.errors import AlignmentError, MissingDependencyError
from depth_anything_ros.motion_parameters import MotionParameters
from depth_anything_ros.node.poses import FrameTimes, TfPoses
from depth_anything_ros.ros import qos
from depth_anything_ros.ros.image_subscription import ImageSubscription, SubscribedTopic
from depth_anything_ros.ros.messages import SerializedMessage
from depth_anything_ros.ros.topic_problems import type_problem
from depth_anything_ros.stamps import CLOCK_RESTART_S
import numpy as np
from rclpy.node import Node
from std_msgs.msg import Header

THREAD_NAME = 'odometry'


class CameraPoses(Protocol):
    """Where the pose of the camera in the frame of the odometry comes from."""

    def pose(self, frame_id: str, stamp_s: float) -> F64:
        """
        Return the pose [4, 4] of the optical frame ``frame_id`` at a time.

        AlignmentError with the reason if it is not known, or not known yet.
        """

    def take_restart(self) -> str:
        """Return why poses from now on do not continue the earlier ones, '' if they do; once."""

    def close(self) -> None:
        """Release subscriptions; idempotent."""


def open_poses(node: Node, read_settings: Callable[[], MotionParameters],
               warn: Callable[[str], None]) -> CameraPoses:
    """Return the poses that ``motion.odometry_topic`` selects; MissingDependencyError."""
    if read_settings().odometry_topic:
        return OdometryPoses(node, read_settings, warn)
    return TfCameraPoses(node, read_settings)


class TfCameraPoses:
    """Poses by TF, from ``motion.odom_frame`` to the frame of the images; for one thread."""

    def __init__(self, node: Node, read_settings: Callable[[], MotionParameters]) -> None:
        self._read_settings = read_settings
        self._odom_frame = read_settings().odom_frame
        self._times = FrameTimes()
        self._tf = TfPoses(node, 'alignment.source motion', 'set motion.odometry_topic',
                           self._times.add)
        self._restart = ''
        self._last_s: float | None = None

    def pose(self, frame_id: str, stamp_s: float) -> F64:
        """Return the pose; AlignmentError if TF has none, or if TF is too slow at that time."""
        if not self._times.move(self._odom_frame, frame_id):
            raise AlignmentError(
                f'all transforms from {frame_id} to {self._odom_frame} are static; publish the '
                'motion of the robot to TF, or set motion.odom_frame to a frame of odometry')
        if self._times.take_restart(self._odom_frame, frame_id):
            self._tf.clear()
        settings = self._read_settings()
        try:
            stamp = Header().stamp
            stamp.sec, stamp.nanosec = divmod(round(stamp_s * 1e9), 10 ** 9)
            pose = self._tf.pose(self._odom_frame, frame_id, stamp)
        except AlignmentError as error:
            raise _unknown('TF', str(error), settings) from error
        gap_s = self._gap(frame_id, stamp_s, stamp_s)
        if gap_s > settings.max_gap:
            raise _unknown('TF', 'the transforms before and after the image are '
                           f'{gap_s:.3f} s apart', settings)
        self._notice_restart(frame_id, stamp_s, settings)
        return pose

    def take_restart(self) -> str:
        """Return why TF was interrupted since the last call, '' if it was not."""
        reason, self._restart = self._restart, ''
        return reason

    def close(self) -> None:
        """Unsubscribe from TF."""
        self._tf.close()

    def _notice_restart(self, frame_id: str, stamp_s: float, settings: MotionParameters) -> None:
        last_s, self._last_s = self._last_s, stamp_s
        if last_s is None:
            return
        if stamp_s < last_s - CLOCK_RESTART_S:
            self._restart = 'the stamps of the images started over'
            return
        gap_s = self._gap(frame_id, last_s, stamp_s)
        if gap_s > settings.max_gap:
            self._restart = (f'TF had no transform for {gap_s:.3f} s, motion.max_gap is '
                             f'{settings.max_gap:g} s')

    def _gap(self, frame_id: str, first_s: float, last_s: float) -> float:
        return self._times.longest_gap(self._odom_frame, frame_id, first_s, last_s)


class OdometryPoses:
    """
    Poses by ``motion.odometry_topic`` and ``motion.camera_pose``.

    Messages arrive on a thread of their own, ``pose`` may be called from another one.
    """

    def __init__(self, node: Node, read_settings: Callable[[], MotionParameters],
                 warn: Callable[[str], None]) -> None:
        self._node = node
        self._read_settings = read_settings
        self._odom_frame = read_settings().odom_frame
        self._topic = node.resolve_topic_name(read_settings().odometry_topic)
        self._message_type = _odometry_type()
        self._lock = threading.Lock()
        self._poses = PoseBuffer()
        self._child_frame: str | None = None
        self._problem = self._restart = ''
        self._subscription = ImageSubscription(node, (SubscribedTopic(
            self._message_type, self._topic, self._on_message, qos.odometry_input()),), warn,
            THREAD_NAME)

    def pose(self, frame_id: str, stamp_s: float) -> F64:
        """Return the pose; AlignmentError if the odometry is missing, late, slow or refused."""
        settings = self._read_settings()
        with self._lock:
            if self._problem:
                raise AlignmentError(self._problem)
            if self._poses.newest_s is None:
                raise AlignmentError(f'no message on {self._topic}: ' + (
                    type_problem(self._node, self._topic, self._message_type)
                    or 'check the odometry and motion.odometry_topic'))
            try:
                moved = self._poses.at(stamp_s, settings.max_gap)
            except AlignmentError as error:
                raise _unknown(self._topic, str(error), settings) from error
        return moved @ pose_matrix(settings.camera_pose)

    def take_restart(self) -> str:
        """Return why the odometry was interrupted since the last call, '' if it was not."""
        with self._lock:
            reason, self._restart = self._restart, ''
            return reason

    def close(self) -> None:
        """Unsubscribe and forget all poses."""
        self._subscription.close()
        with self._lock:
            self._poses.clear()

    def _on_message(self, serialized: SerializedMessage) -> None:
        message, settings = serialized.message, self._read_settings()
        with self._lock:
            try:
                self._check(message, settings)
                self._add(message, serialized.stamp_s, settings)
                self._problem = ''
            except AlignmentError as error:
                self._problem = f'{self._topic}: {error}'
                self._interrupt(self._problem)

    def _check(self, message: Any, settings: MotionParameters) -> None:
        if message.header.frame_id != self._odom_frame:
            raise AlignmentError(
                f'the odometry is in frame {message.header.frame_id!r}, but motion.odom_frame is '
                f'{self._odom_frame!r}; set it to that frame')
        variance = float(np.max(message.pose.covariance[[0, 7]]))
        limit = settings.max_deviation
        if limit and not variance <= limit ** 2:
            raise AlignmentError(
                f'the standard deviation of the position is {variance ** 0.5:.3g} m, '
                f'motion.max_deviation is {limit:g} m; check the odometry, or set 0 if its '
                'covariance grows with the distance')

    def _add(self, message: Any, stamp_s: float, settings: MotionParameters) -> None:
        newest_s = self._poses.newest_s
        if message.child_frame_id != self._child_frame:
            if self._child_frame is not None:
                self._interrupt(f'{self._topic} changed to frame {message.child_frame_id!r}')
            self._child_frame = message.child_frame_id
        elif newest_s is not None and stamp_s < newest_s - CLOCK_RESTART_S:
            self._interrupt(f'the stamps on {self._topic} started over')
        elif newest_s is not None and stamp_s > newest_s + settings.max_gap:
            self._restart = (f'{self._topic} had no message for {stamp_s - newest_s:.3f} s, '
                             f'motion.max_gap is {settings.max_gap:g} s')
        xyz, turn = message.pose.pose.position, message.pose.pose.orientation
        self._poses.add(stamp_s, (xyz.x, xyz.y, xyz.z), (turn.x, turn.y, turn.z, turn.w))

    def _interrupt(self, reason: str) -> None:
        self._poses.clear()
        self._restart = reason


def _odometry_type() -> Any:
    try:
        from nav_msgs.msg import Odometry
    except ImportError as error:
        raise MissingDependencyError(
            'nav_msgs', 'motion.odometry_topic', 'sudo apt install ros-$ROS_DISTRO-nav-msgs, or '
            'leave it empty to use TF') from error
    return Odometry


def _unknown(source: str, reason: str, settings: MotionParameters) -> AlignmentError:
    return AlignmentError(
        f'the pose of the camera is not known from {source}: {reason}; odometry must be published '
        f'at more than {1 / settings.max_gap:g} Hz, promptly, and with the clock of the camera '
        '(motion.time_offset)')
