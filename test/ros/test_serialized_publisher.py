"""Messages of arrays arrive as they were written, with and without the function of rcl."""

from collections.abc import Iterator
from typing import Any

from depth_anything_ros.ros import serialized_publisher
from depth_anything_ros.ros.messages import color_message, depth_message
from depth_anything_ros.ros.serialized_publisher import SerializedPublisher
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import try_shutdown
from robot import RELIABLE
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from waiting import until

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 255, (height, 8, 3), np.uint8) for height in (5, 90, 2)]


class Topic:
    """A publisher and what a subscriber in the same process gets of it."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node('publisher', context=self.context)
        self.arrived: list[Image] = []
        self.publisher = self.node.create_publisher(Image, 'image', RELIABLE)
        self.node.create_subscription(Image, 'image', self.arrived.append, RELIABLE)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        assert until(lambda: self.publisher.get_subscription_count() == 1)

    def has(self, count: int) -> bool:
        """Handle messages until ``count`` have arrived."""
        def arrived() -> bool:
            self._executor.spin_once(timeout_sec=0.05)
            return len(self.arrived) >= count
        return bool(until(arrived))

    def close(self) -> None:
        """Destroy the node."""
        self._executor.shutdown()
        self.node.destroy_node()
        try_shutdown(context=self.context)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    """Return a topic that nobody else sees."""
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF')
    topic = Topic()
    yield topic
    topic.close()


@pytest.mark.parametrize('has_rcl', [True, False])
def test_each_message_arrives_whatever_was_in_the_memory_before(
        topic: Topic, has_rcl: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller message after a larger one, and an array that is not contiguous."""
    if not has_rcl:
        monkeypatch.setattr(serialized_publisher, 'missing_for_publishing', lambda: ['rcl'])
    publisher = SerializedPublisher(topic.publisher)
    for number, image in enumerate(IMAGES, 1):
        publisher.publish(color_message(Header(frame_id=f'{number}'), image))
        assert topic.has(number)
    publisher.publish(depth_message(Header(), np.arange(12, dtype=np.float32)[::2].reshape(2, 3)))
    assert topic.has(4)
    for number, (message, image) in enumerate(zip(topic.arrived, IMAGES), 1):
        assert (message.header.frame_id, message.height) == (f'{number}', len(image))
        assert bytes(message.data) == image.tobytes()
    assert np.frombuffer(topic.arrived[3].data, np.float32).tolist() == [0, 2, 4, 6, 8, 10]


def test_the_function_of_rcl_is_found_and_used(topic: Topic) -> None:
    """Otherwise each message would be copied twice more, unseen."""
    published: list[Any] = []
    topic.publisher.publish = published.append  # type: ignore[method-assign]
    SerializedPublisher(topic.publisher).publish(color_message(Header(), IMAGES[0]))
    assert topic.has(1) and not published


def test_a_destroyed_publisher_raises_what_rclpy_raises(topic: Topic) -> None:
    """No memory of rcl is read after its end."""
    publisher = SerializedPublisher(topic.publisher)
    topic.node.destroy_publisher(topic.publisher)
    with pytest.raises(Exception, match='destr|invalid|Invalid'):
        publisher.publish(color_message(Header(), IMAGES[0]))
