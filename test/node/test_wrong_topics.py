"""A topic that another process publishes with the wrong type: the log and diagnostics name it."""

from collections.abc import Callable, Iterator

from diagnostic_msgs.msg import DiagnosticArray
from nodes import DOMAIN_ID
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from robot import Robot
from sensor_msgs.msg import CompressedImage, Image
from waiting import on_stderr

DEPTH = '/depth_anything/inverse_depth/image'
PICTURE = np.full((120, 160, 3), 90, np.uint8)
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


def new_context() -> Context:
    """Return a context that discovers those of other processes on this machine."""
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN_ID)
    return context


@pytest.fixture
def context() -> Iterator[Context]:
    """Return the context of the robot."""
    context = new_context()
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture
def elsewhere() -> Iterator[Node]:
    """Return a node as if in another process: Fast DDS allows one type per topic and process."""
    context = new_context()
    node = Node('elsewhere', context=context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_a_topic_of_the_wrong_type_is_named_in_log_and_diagnostics(
        make_robot: Callable[..., Robot], elsewhere: Node,
        capfd: pytest.CaptureFixture[str]) -> None:
    """DDS tells neither side that their types differ."""
    robot = make_robot()
    elsewhere.create_publisher(CompressedImage, 'image', 1)
    robot.bring_up()
    health = robot.listen(DiagnosticArray, '/diagnostics')
    remedy = 'set image_transport to compressed and remap /image/compressed to /image'
    assert robot.until(lambda: health and remedy in health[-1].status[0].message)
    assert f'no image on /image: /image has {COMPRESSED}, not' in capfd.readouterr().err


def test_a_reference_of_the_wrong_type_is_named(
        make_robot: Callable[..., Robot], elsewhere: Node) -> None:
    robot = make_robot(**{'alignment.source': 'depth'})
    elsewhere.create_publisher(CompressedImage, 'reference/depth', 1)
    robot.bring_up()
    health = robot.listen(DiagnosticArray, '/diagnostics')
    robot.listen(Image, DEPTH)
    assert robot.until(
        lambda: robot.depth.get_publishers_info_by_topic('/reference/depth'))
    robot.show(PICTURE)
    fact = f'/reference/depth has {COMPRESSED}, not sensor_msgs/msg/Image; remap it'
    assert robot.until(lambda: health and fact in health[-1].status[0].message)


def test_odometry_of_the_wrong_type_is_named(
        make_robot: Callable[..., Robot], elsewhere: Node,
        capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('nav_msgs.msg', reason='nav_msgs is missing')
    robot = make_robot(**{'alignment.source': 'motion', 'motion.odometry_topic': 'odom'})
    elsewhere.create_publisher(CompressedImage, 'odom', 1)
    robot.bring_up()
    health = robot.listen(DiagnosticArray, '/diagnostics')
    robot.listen(Image, DEPTH)
    assert robot.until(lambda: robot.depth.get_publishers_info_by_topic('/odom'))
    fact = f'no message on /odom: /odom has {COMPRESSED}, not nav_msgs/msg/Odometry'

    for number in range(10, 100):
        robot.show(PICTURE, stamp_ns=number * 10 ** 9)
        if robot.until(lambda: on_stderr(f'no metric depth: {fact}'), 0.1):
            break
    assert f'no metric depth: {fact}' in capfd.readouterr().err
    assert robot.until(lambda: health and fact in health[-1].status[0].message)
