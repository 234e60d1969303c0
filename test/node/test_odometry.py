"""The pose of a camera from odometry and from TF, over real topics: what is used, and what not."""

from collections.abc import Callable, Iterator
from dataclasses import replace
import sys
import threading
from typing import Any

from depth_anything_ros.errors import AlignmentError, MissingDependencyError
from depth_anything_ros.motion_parameters import MotionParameters
from depth_anything_ros.node.odometry import (
    OdometryPoses, open_poses, TfCameraPoses, THREAD_NAME)
import numpy as np
from numpy.testing import assert_allclose
import pytest
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from robot import RELIABLE
import tf2_stand_in
from waiting import until

AHEAD = (0.2, 0.0, 0.4, -np.pi / 2, 0.0, -np.pi / 2)


@pytest.fixture
def node(context: Context) -> Iterator[Node]:
    """Return a node that publishes and subscribes."""
    node = Node('robot', context=context)
    yield node
    node.destroy_node()


class Odometry:
    """Odometry on /odom, and the poses that the node makes of it."""

    def __init__(self, node: Node, **settings: Any) -> None:
        self.type = pytest.importorskip('nav_msgs.msg', reason='nav_msgs is missing').Odometry
        self.settings = MotionParameters(odometry_topic='odom', camera_pose=AHEAD, **settings)
        self.publisher = node.create_publisher(self.type, 'odom', RELIABLE)
        self.warnings: list[str] = []
        self.poses = open_poses(node, lambda: self.settings, self.warnings.append)
        assert isinstance(self.poses, OdometryPoses)
        assert until(lambda: self.publisher.get_subscription_count() > 0)

    def publish(self, stamp_s: float, x: float = 0.0, frame: str = 'odom', child: str = 'base',
                variance: float = 0.0) -> None:
        """Publish a pose."""
        message = self.type(child_frame_id=child)
        message.header.frame_id = frame
        message.header.stamp.sec = int(stamp_s)
        message.header.stamp.nanosec = round(stamp_s % 1 * 1e9)
        message.pose.pose.position.x = x
        message.pose.pose.orientation.w = 1.0
        message.pose.covariance[7] = variance
        self.publisher.publish(message)

    def x(self, stamp_s: float) -> float:
        """Return the position of the camera along x once it is known."""
        assert until(lambda: self.reason(stamp_s) == ''), self.reason(stamp_s)
        return float(self.poses.pose('camera', stamp_s)[0, 3])

    def says(self, words: str, stamp_s: float) -> bool:
        """Return whether the reason for having no pose soon has these words."""
        return until(lambda: words in self.reason(stamp_s))

    def reason(self, stamp_s: float) -> str:
        """Return why there is no pose, '' if there is one."""
        return reason_of(self.poses, stamp_s)


def reason_of(poses: Any, stamp_s: float) -> str:
    """Return why there is no pose, '' if there is one."""
    try:
        poses.pose('camera', stamp_s)
    except AlignmentError as error:
        return str(error)
    return ''


@pytest.fixture
def make_odometry(node: Node) -> Iterator[Callable[..., Odometry]]:
    """Return a function that makes odometry with these parameters motion.*."""
    made: list[Odometry] = []

    def make(**settings: Any) -> Odometry:
        made.append(Odometry(node, **settings))
        return made[-1]

    yield make
    for odometry in made:
        odometry.poses.close()
        odometry.poses.close()


def threads() -> int:
    """Return how many threads receive odometry."""
    return sum(thread.name == THREAD_NAME for thread in threading.enumerate())


def test_the_camera_moves_with_the_robot_and_looks_ahead(
        make_odometry: Callable[..., Odometry]) -> None:
    odometry = make_odometry()
    odometry.publish(10.0, x=1.0)
    odometry.publish(10.1, x=2.0)
    assert odometry.x(10.05) == pytest.approx(1.5 + 0.2)
    pose = odometry.poses.pose('camera', 10.05)
    assert_allclose(pose @ [0.0, 0.0, 1.0, 1.0], [2.7, 0.0, 0.4, 1.0], atol=1e-9)
    assert odometry.poses.take_restart() == ''


def test_without_a_message_the_topic_and_its_types_are_named(
        make_odometry: Callable[..., Odometry]) -> None:
    assert 'no message on /odom: check' in make_odometry().reason(10.0)


def test_odometry_that_comes_once_per_second_gives_no_pose_and_is_an_interruption(
        make_odometry: Callable[..., Odometry]) -> None:
    odometry = make_odometry()
    for stamp_s in (10.0, 11.0):
        odometry.publish(stamp_s)
    assert odometry.says('1.000 s apart; odometry must be published at more than 4 Hz', 10.5)
    assert 'no message for 1.000 s, motion.max_gap is 0.25 s' in odometry.poses.take_restart()
    assert odometry.poses.take_restart() == '', 'it is reported once'
    odometry.settings = replace(odometry.settings, max_gap=1.5)
    assert odometry.reason(10.5) == ''


def test_late_odometry_is_called_late(make_odometry: Callable[..., Odometry]) -> None:
    odometry = make_odometry()
    odometry.publish(10.0)
    assert odometry.says('the newest pose is 0.800 s older than the image', 10.8)
    assert 'motion.time_offset' in odometry.reason(10.8)


def test_odometry_in_another_frame_is_refused_until_it_is_right(
        make_odometry: Callable[..., Odometry]) -> None:
    odometry = make_odometry()
    odometry.publish(10.0, frame='map')
    assert odometry.says("is in frame 'map', but motion.odom_frame is 'odom'", 10.0)
    odometry.publish(10.1, x=1.0)
    assert odometry.x(10.1) == pytest.approx(1.2)


@pytest.mark.parametrize('variance', [144.0, 1e6, float('nan')])
def test_a_large_covariance_ends_what_was_known(
        make_odometry: Callable[..., Odometry], variance: float) -> None:
    odometry = make_odometry()
    odometry.publish(10.0)
    assert odometry.x(10.0) == pytest.approx(0.2)
    odometry.publish(10.1, variance=variance)
    assert odometry.says(f'standard deviation of the position is {variance ** 0.5:.3g} m', 10.0)
    assert 'motion.max_deviation is 10 m' in odometry.poses.take_restart()
    odometry.publish(10.2, x=3.0)
    assert odometry.x(10.2) == pytest.approx(3.2)
    assert 'oldest pose' in odometry.reason(10.05), 'nothing is interpolated across it'


@pytest.mark.parametrize(('variance', 'limit'), [(144.0, 0.0), (99.0, 10.0), (-1.0, 10.0)])
def test_a_covariance_within_the_limit_or_unknown_is_used(
        make_odometry: Callable[..., Odometry], variance: float, limit: float) -> None:
    odometry = make_odometry(max_deviation=limit)
    odometry.publish(10.0, variance=variance)
    assert odometry.x(10.0) == pytest.approx(0.2)


@pytest.mark.parametrize(('changes', 'words'), [
    ({'stamp_s': 3.0}, 'stamps on /odom started over'),
    ({'stamp_s': 10.1, 'child': 'cart'}, "changed to frame 'cart'")])
def test_odometry_that_starts_over_is_an_interruption(
        make_odometry: Callable[..., Odometry], changes: dict[str, Any], words: str) -> None:
    odometry = make_odometry()
    odometry.publish(10.0)
    assert odometry.x(10.0) == pytest.approx(0.2)
    odometry.publish(**changes, x=5.0)
    assert odometry.x(changes['stamp_s']) == pytest.approx(5.2)
    assert words in odometry.poses.take_restart()


def test_a_pose_that_is_not_a_number_is_refused(make_odometry: Callable[..., Odometry]) -> None:
    odometry = make_odometry()
    odometry.publish(10.0, x=float('nan'))
    assert odometry.says('/odom: a pose has a position that is not finite', 10.0)


def test_closing_ends_the_thread_and_the_subscription(node: Node) -> None:
    before, subscriptions = threads(), len(list(node.subscriptions))
    odometry = Odometry(node)
    assert threads() == before + 1
    odometry.publish(10.0)
    assert odometry.x(10.0) == pytest.approx(0.2)
    odometry.poses.close()
    assert (threads(), len(list(node.subscriptions))) == (before, subscriptions)
    assert odometry.poses._poses.newest_s is None


@pytest.mark.parametrize(('topic', 'missing', 'instead'), [
    ('odom', 'nav_msgs', 'leave it empty'), ('', 'tf2_ros', 'set motion.odometry_topic')])
def test_without_the_package_the_error_has_the_install_line_and_the_alternative(
        node: Node, monkeypatch: pytest.MonkeyPatch, topic: str, missing: str,
        instead: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setitem(sys.modules, f'{missing}.msg', None)
    with pytest.raises(MissingDependencyError, match=f'needs {missing}.*apt.*{instead}'):
        open_poses(node, lambda: MotionParameters(odometry_topic=topic), [].append)


class Frames:
    """TF, and the poses that the node makes of it."""

    def __init__(self, node: Node) -> None:
        self.settings = MotionParameters()
        kind = type(tf2_stand_in.transform_message('', '', np.eye(4), 0.0))
        self.publishers = {'/tf': node.create_publisher(kind, '/tf', 10),
                           '/tf_static': node.create_publisher(kind, '/tf_static',
                                                               tf2_stand_in.STATIC)}
        self.poses = open_poses(node, lambda: self.settings, [].append)
        assert isinstance(self.poses, TfCameraPoses)
        assert until(lambda: all(publisher.get_subscription_count()
                                 for publisher in self.publishers.values()))
        self.publish('base', 'camera', 0.2, 0.0, topic='/tf_static')

    def publish(self, parent: str, child: str, x: float, stamp_s: float,
                topic: str = '/tf') -> None:
        """Publish a transform without a turn."""
        pose = np.eye(4)
        pose[0, 3] = x
        self.publishers[topic].publish(
            tf2_stand_in.transform_message(parent, child, pose, stamp_s))

    def move(self, x: float, stamp_s: float) -> None:
        """Publish where the robot is; return when the node knows it."""
        self.publish('odom', 'base', x, stamp_s)
        assert until(lambda: reason_of(self.poses, stamp_s) == ''), reason_of(self.poses, stamp_s)


@pytest.fixture
def frames(node: Node, context: Context,
           monkeypatch: pytest.MonkeyPatch) -> Iterator[Frames]:
    """Return TF with a camera on a robot, whose messages arrive on an executor."""
    tf2_stand_in.provide(monkeypatch)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    closing = threading.Event()

    def spin() -> None:
        while not closing.is_set():
            executor.spin_once(timeout_sec=0.02)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    made = Frames(node)
    yield made
    closing.set()
    thread.join()
    made.poses.close()
    executor.shutdown()


def test_tf_gives_the_camera_in_odom_between_two_transforms(frames: Frames) -> None:
    frames.move(1.0, 10.0)
    frames.move(2.0, 10.1)
    assert frames.poses.pose('camera', 10.05)[0, 3] == pytest.approx(1.7)
    assert frames.poses.take_restart() == ''


def test_no_tf_says_so_with_both_frames(frames: Frames) -> None:
    frames.poses.close()
    reason = reason_of(frames.poses, 10.0)
    assert 'TF has no transform from camera to odom' in reason
    assert 'set motion.odometry_topic' in reason


def test_closing_unsubscribes_from_tf(frames: Frames) -> None:
    frames.poses.close()
    assert until(lambda: not any(publisher.get_subscription_count()
                                 for publisher in frames.publishers.values()))


def test_late_tf_is_called_late(frames: Frames) -> None:
    frames.move(1.0, 10.0)
    reason = reason_of(frames.poses, 10.5)
    assert 'TF has no transform from camera to odom' in reason and 'extrapolation' in reason


def test_a_camera_that_is_fixed_to_odom_has_no_motion_and_says_so(frames: Frames) -> None:
    frames.publish('odom', 'base', 0.0, 0.0, topic='/tf_static')
    assert until(lambda: 'all transforms from camera to odom are static' in
                 reason_of(frames.poses, 10.0))


def test_tf_that_comes_once_per_second_gives_no_pose_and_is_an_interruption(
        frames: Frames) -> None:
    """TF itself would interpolate."""
    frames.move(1.0, 10.0)
    frames.move(2.0, 11.0)
    assert '1.000 s apart' in reason_of(frames.poses, 10.5)
    assert 'no transform for 1.000 s, motion.max_gap is 0.25 s' in frames.poses.take_restart()
    frames.move(2.1, 11.1)
    assert frames.poses.pose('camera', 11.05)[0, 3] == pytest.approx(2.25)
    assert frames.poses.take_restart() == ''


def test_only_frames_between_the_camera_and_odom_count(frames: Frames) -> None:
    """An arm may stand still, and localization may be slow."""
    for stamp_s in (10.0, 10.1, 10.2):
        frames.move(stamp_s, stamp_s)
    for stamp_s in (10.0, 13.0):
        frames.publish('base', 'arm', 0.0, stamp_s)
        frames.publish('map', 'odom', 0.0, stamp_s)
    frames.move(10.3, 10.3)
    for stamp_s in (10.05, 10.15, 10.25):
        assert frames.poses.pose('camera', stamp_s)[0, 3] == pytest.approx(stamp_s + 0.2)
    assert frames.poses.take_restart() == ''


def test_transforms_that_start_over_are_an_interruption(frames: Frames) -> None:
    frames.move(1.0, 100.0)
    assert not reason_of(frames.poses, 100.0)

    def known_again() -> bool:
        # TF itself refuses what is older than all that it has.
        frames.publish('odom', 'base', 5.0, 10.0)
        return not reason_of(frames.poses, 10.0)

    assert until(known_again, 10.0)
    assert 'started over' in frames.poses.take_restart()
    assert frames.poses.pose('camera', 10.0)[0, 3] == pytest.approx(5.2)
