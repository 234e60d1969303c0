"""The subscriptions of the page, over DDS."""

from functools import partial
from typing import Any

from depth_anything_ros.view.feeds import Feeds, Topic
import pytest
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from waiting import until

KEY = ('', 'depth')
WANTED = {KEY: Topic(CameraInfo, '/camera_info')}


@pytest.fixture
def node(context: Context) -> Any:
    """Return a node that publishes and one that subscribes in one."""
    node = Node('feeds', context=context)
    yield node
    node.destroy_node()


def test_a_publisher_that_returns_with_another_qos_is_received(node: Node) -> None:
    received: list[str] = []
    feeds = Feeds(node, lambda key, found: received.append(found.header.frame_id), [].append)

    def arrives(publisher: Any, name: str) -> bool:
        feeds.show(WANTED)
        message = CameraInfo()
        message.header.frame_id = name
        publisher.publish(message)
        return name in received

    for reliability in QoSReliabilityPolicy.RELIABLE, QoSReliabilityPolicy.BEST_EFFORT:
        publisher = node.create_publisher(
            CameraInfo, '/camera_info', QoSProfile(depth=1, reliability=reliability))
        assert until(partial(arrives, publisher, reliability.name), 10.0), reliability
        node.destroy_publisher(publisher)
        assert until(lambda: not node.count_publishers('/camera_info'))
        feeds.show(WANTED)
    feeds.close()
