"""
What the node uses of tf2_ros, which PyPI does not have: a buffer, and a listener over DDS.

TFMessage comes with tf2_ros, so here /tf and /tf_static have one TransformStamped per message.
Where tf2_ros is installed, tests use that instead.
"""

from importlib.util import find_spec
import sys
from types import ModuleType
from typing import Any

from depth_anything_ros.alignment.poses import PoseBuffer
from depth_anything_ros.arrays import F64
from depth_anything_ros.errors import AlignmentError
from geometry_msgs.msg import TransformStamped
import numpy as np
import pytest
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.time import Time

# What a listener of tf2_ros asks of the publishers of /tf_static.
STATIC = QoSProfile(depth=100, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


class TransformException(Exception):
    """The error of a frame that is not known, or not known at a time."""


class Buffer:
    """Transforms by the frame that moves; interpolates over any gap, as TF does."""

    def __init__(self) -> None:
        self._moving: dict[str, tuple[str, PoseBuffer]] = {}
        self._static: dict[str, tuple[str, PoseBuffer]] = {}
        self.jump_handle = None

    def set_transform(self, message: TransformStamped, authority: str) -> None:
        """Add a transform."""
        self._add(self._moving, message)

    def set_transform_static(self, message: TransformStamped, authority: str) -> None:
        """Add a transform that does not change."""
        self._add(self._static, message)

    def _add(self, frames: dict[str, tuple[str, PoseBuffer]], message: TransformStamped) -> None:
        _, poses = frames.setdefault(message.child_frame_id,
                                     (message.header.frame_id, PoseBuffer()))
        xyz, turn = message.transform.translation, message.transform.rotation
        poses.add(Time.from_msg(message.header.stamp).nanoseconds * 1e-9, (xyz.x, xyz.y, xyz.z),
                  (turn.x, turn.y, turn.z, turn.w))

    def lookup_transform(self, target: str, source: str, time: Time) -> Any:
        """Return the transform as a message; ``target`` is above ``source`` in the tree."""
        matrix, message = np.eye(4), TransformStamped()
        for frame, poses in self._chain(target, source):
            stamp_s = time.nanoseconds * 1e-9 if frame in self._moving else poses.newest_s
            try:
                matrix = poses.at(stamp_s, np.inf) @ matrix
            except AlignmentError as error:
                raise TransformException(f'extrapolation: {error}') from error
        to, turn = message.transform.translation, message.transform.rotation
        to.x, to.y, to.z = map(float, matrix[:3, 3])
        turn.x, turn.y, turn.z, turn.w = quaternion(matrix)
        return message

    def clear(self) -> None:
        """Forget the frames that move."""
        self._moving.clear()

    def _chain(self, target: str, source: str) -> list[tuple[str, PoseBuffer]]:
        chain = []
        while source != target:
            known = self._moving.get(source) or self._static.get(source)
            if known is None:
                raise TransformException(f'"{source}" passed to lookupTransform does not exist')
            chain.append((source, known[1]))
            source = known[0]
        return chain


class TransformListener:
    """The subscriptions to /tf and /tf_static."""

    def __init__(self, buffer: Buffer, node: Node) -> None:
        self._node = node
        self._subscriptions = [
            node.create_subscription(
                TransformStamped, topic, lambda message, add=add: add(message, 'robot'), 100)
            for topic, add in (('/tf', buffer.set_transform),
                               ('/tf_static', buffer.set_transform_static))]

    def unregister(self) -> None:
        """Unsubscribe."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())


def provide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nodes import tf2_ros: the one that is installed, or the stand-in."""
    if find_spec('tf2_ros') is None:
        made = ModuleType('tf2_ros')
        made.Buffer, made.TransformListener = Buffer, TransformListener
        made.TransformException = TransformException
        monkeypatch.setitem(sys.modules, 'tf2_ros', made)


def quaternion(pose: F64) -> tuple[float, float, float, float]:
    """Return x, y, z, w of the rotation of a matrix; not for half turns."""
    w = np.sqrt(max(1e-12, 1 + np.trace(pose[:3, :3]))) / 2
    turn = pose[:3, :3] - pose[:3, :3].T
    return tuple(float(part) for part in (*(turn[[2, 0, 1], [1, 2, 0]] / (4 * w)), w))


def transform_message(parent: str, child: str, pose: F64, stamp_s: float) -> Any:
    """Return the pose of a frame in its parent as a message for /tf or /tf_static."""
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = Time(nanoseconds=round(stamp_s * 1e9)).to_msg()
    to, turn = message.transform.translation, message.transform.rotation
    to.x, to.y, to.z = map(float, pose[:3, 3])
    turn.x, turn.y, turn.z, turn.w = quaternion(pose)
    if find_spec('tf2_msgs') is None:
        return message
    from tf2_msgs.msg import TFMessage
    return TFMessage(transforms=[message])
