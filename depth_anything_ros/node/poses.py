"""The pose of one frame in another: from a parameter or from TF."""

from collections import deque
from collections.abc import Callable, Sequence
import threading
from typing import Any, Protocol

from depth_anything_ros.alignment.poses import measured_pose, pose_matrix
from depth_anything_ros.arrays import F64
from depth_anything_ros.errors import AlignmentError, MissingDependencyError
from depth_anything_ros.ros.messages import stamp_s
from depth_anything_ros.stamps import CLOCK_RESTART_S
from rclpy.node import Node
from rclpy.time import Time

# Ten seconds at 100 Hz.
_STAMPS_KEPT = 1000


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
    ``on_transform`` gets each TransformStamped, and whether it is static.
    """

    def __init__(self, node: Node, purpose: str, instead: str,
                 on_transform: Callable[[Any, bool], None] | None = None) -> None:
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
        self._buffer = Buffer() if on_transform is None else _observed(Buffer, on_transform)()
        self._listener = TransformListener(self._buffer, node)

    def pose(self, target: str, source: str, stamp: Any) -> F64:
        """Return the matrix [4, 4] at ``stamp``; AlignmentError if TF has no such transform."""
        if stamp.sec < 0:
            raise AlignmentError(f'TF has no time before 0 s, but the stamp is {stamp.sec} s; '
                                 'correct the clock of its publisher')
        try:
            found = self._buffer.lookup_transform(target, source, Time.from_msg(stamp))
        except self._transform_error as error:
            raise AlignmentError(
                f'TF has no transform from {source} to {target} at the required time ({error}); '
                f'publish it or {self._instead}') from error
        xyz, turn = found.transform.translation, found.transform.rotation
        return measured_pose((xyz.x, xyz.y, xyz.z), (turn.x, turn.y, turn.z, turn.w))

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


def _observed(buffer: Any, on_transform: Callable[[Any, bool], None]) -> Any:
    """Return a class of buffers that pass each transform on, too."""
    class ObservedBuffer(buffer):  # type: ignore[misc]

        def set_transform(self, transform: Any, authority: str) -> None:
            on_transform(transform, False)
            super().set_transform(transform, authority)

        def set_transform_static(self, transform: Any, authority: str) -> None:
            on_transform(transform, True)
            super().set_transform_static(transform, authority)

    return ObservedBuffer


class FrameTimes:
    """
    The times of the transforms of each frame, because TF interpolates over any gap.

    Every method may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parents: dict[str, str] = {}
        self._stamps: dict[str, deque[float]] = {}
        self._restarted: set[str] = set()

    def add(self, transform: Any, static: bool) -> None:
        """Add a TransformStamped; times that are a second older than the newest start over."""
        at_s, child = stamp_s(transform.header), transform.child_frame_id
        with self._lock:
            self._parents[child] = transform.header.frame_id
            if static:
                return
            stamps = self._stamps.setdefault(child, deque(maxlen=_STAMPS_KEPT))
            if stamps and at_s < stamps[-1] - CLOCK_RESTART_S:
                stamps.clear()
                self._restarted.add(child)
            if not stamps or at_s > stamps[-1]:
                stamps.append(at_s)

    def move(self, target: str, source: str) -> bool:
        """Return whether a frame between two frames moves, or one that is not known may."""
        with self._lock:
            between, connected = self._between(target, source)
            return not connected or bool(between)

    def take_restart(self, target: str, source: str) -> bool:
        """Return whether times between two frames started over since the last call."""
        with self._lock:
            restarted = self._restarted.intersection(self._between(target, source)[0])
            self._restarted -= restarted
            return bool(restarted)

    def longest_gap(self, target: str, source: str, first_s: float, last_s: float) -> float:
        """Return the longest time without a transform that overlaps an interval of time [s]."""
        longest_s = 0.0
        with self._lock:
            for frame in self._between(target, source)[0]:
                newer_s = None
                for at_s in reversed(self._stamps[frame]):
                    if newer_s is not None and at_s < last_s:
                        longest_s = max(longest_s, newer_s - at_s)
                    if at_s <= first_s:
                        break
                    newer_s = at_s
        return longest_s

    def _between(self, target: str, source: str) -> tuple[list[str], bool]:
        """Return the moving frames between two frames, and whether the two are connected."""
        up, down = self._ancestors(source), self._ancestors(target)
        frames = [frame for frame in (*up, *down) if (frame in up) != (frame in down)]
        return [frame for frame in frames if frame in self._stamps], bool(set(up) & set(down))

    def _ancestors(self, frame: str) -> list[str]:
        found = [frame]
        while (parent := self._parents.get(found[-1])) is not None and parent not in found:
            found.append(parent)
        return found
