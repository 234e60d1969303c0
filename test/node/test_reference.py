"""Poses of reference sensors, by parameter and by TF."""

from collections.abc import Iterator
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

from depth_anything_ros.errors import AlignmentError, MissingDependencyError
from depth_anything_ros.node.reference import FixedPose, TfPoses
import numpy as np
from numpy.testing import assert_allclose
import pytest
from rclpy.context import Context
from rclpy.node import Node
from rclpy.time import Time

STAMP = Time(seconds=5).to_msg()


@pytest.fixture
def node(context: Context) -> Iterator[Node]:
    """Return a node to hang a listener on."""
    node = Node('frames', context=context)
    yield node
    node.destroy_node()


def test_a_fixed_pose_turns_by_roll_then_pitch_then_yaw_and_moves() -> None:
    """As in URDF and static_transform_publisher (REP 103: fixed axes)."""
    poses = FixedPose(lambda: (1.0, 2.0, 3.0, np.pi / 2, 0.0, np.pi / 2))
    turned = poses.pose('camera', 'lidar', STAMP) @ [0.0, 1.0, 0.0, 1.0]
    # y turns to z by the roll and stays there under the yaw.
    assert_allclose(turned, [1.0, 2.0, 4.0, 1.0], atol=1e-12)
    forward = poses.pose('camera', 'lidar', STAMP) @ [1.0, 0.0, 0.0, 1.0]
    assert_allclose(forward, [1.0, 3.0, 3.0, 1.0], atol=1e-12)


def test_a_fixed_pose_is_read_anew_each_time() -> None:
    """The parameter may change while the node runs."""
    pose = [0.0] * 6
    poses = FixedPose(lambda: pose)
    pose[2] = 0.5
    assert poses.pose('camera', 'lidar', STAMP)[2, 3] == 0.5


def test_without_tf2_the_error_has_the_install_line_and_the_alternative(node: Node) -> None:
    if 'tf2_ros' in sys.modules:
        pytest.skip('tf2_ros is installed')
    with pytest.raises(MissingDependencyError, match='tf2-ros-py.*reference_pose'):
        TfPoses(node)


class _TransformError(Exception):
    """Stands for tf2_ros.TransformException."""


class _Buffer:
    """What tf2_ros.Buffer offers: one transform, or an exception."""

    known: Any = None

    def __init__(self, node: Node) -> None:
        self.lookups: list[Any] = []

    def lookup_transform(self, target: str, source: str, time: Time) -> Any:
        """Return the transform of a quarter turn about z, 2 m ahead."""
        self.lookups.append((target, source, time))
        if self.known is None:
            raise _TransformError(f'{source} does not exist')
        return self.known


@pytest.fixture
def tf2(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module with the interface of tf2_ros, which PyPI does not carry."""
    module = ModuleType('tf2_ros')
    module.Buffer, module.TransformException = _Buffer, _TransformError
    module.TransformListener = lambda buffer, node: SimpleNamespace(unregister=lambda: None)
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    return module


def test_tf_gives_the_pose_of_the_sensor_in_the_camera(tf2: ModuleType, node: Node) -> None:
    half = np.sqrt(0.5)
    tf2.Buffer.known = SimpleNamespace(transform=SimpleNamespace(
        translation=SimpleNamespace(x=0.0, y=0.0, z=2.0),
        rotation=SimpleNamespace(x=0.0, y=0.0, z=half, w=half)))
    poses = TfPoses(node)
    matrix = poses.pose('camera', 'lidar', STAMP)
    assert_allclose(matrix @ [1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 2.0, 1.0], atol=1e-12)
    assert poses._buffer.lookups == [('camera', 'lidar', Time.from_msg(STAMP))]
    poses.close()


def test_a_missing_transform_is_an_error_with_both_frames(tf2: ModuleType, node: Node) -> None:
    tf2.Buffer.known = None
    with pytest.raises(AlignmentError, match='from lidar to camera.*does not exist'):
        TfPoses(node).pose('camera', 'lidar', STAMP)
