"""Why no image arrives, by the types that are published in a real ROS graph."""

from collections.abc import Callable, Iterator

from depth_anything_ros.ros.topic_problems import image_topic_problem, type_problem
import pytest
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from waiting import until


@pytest.fixture
def node(context: Context) -> Iterator[Node]:
    """Return a node that asks."""
    node = Node('asker', context=context)
    yield node
    node.destroy_node()


@pytest.fixture
def publish(context: Context, node: Node) -> Iterator[Callable[[type, str], None]]:
    """Return a function that announces a publisher."""
    other = Node('camera', context=context)

    def announce(message_type: type, topic: str) -> None:
        other.create_publisher(message_type, topic, 1)
        assert until(lambda: node.get_publishers_info_by_topic(topic))

    yield announce
    other.destroy_node()


@pytest.mark.parametrize(('transport', 'topic', 'published', 'problem'), [
    ('raw', '/cam/image/compressed', [(CompressedImage, '/cam/image/compressed')],
     '/cam/image/compressed has sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image; set '
     'image_transport to compressed and remap image to /cam/image'),
    ('raw', '/cam/jpeg', [(CompressedImage, '/cam/jpeg')],
     '/cam/jpeg has sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image; set '
     'image_transport to compressed and remap /cam/jpeg/compressed to /cam/jpeg'),
    ('raw', '/cam/points', [(PointCloud2, '/cam/points')],
     '/cam/points has sensor_msgs/msg/PointCloud2, not sensor_msgs/msg/Image; remap image to a '
     'topic of images'),
    ('raw', '/cam/image', [(CompressedImage, '/cam/image/compressed')],
     'only /cam/image/compressed is published; set image_transport to compressed'),
    ('raw', '/cam/image', [(Image, '/cam/image'), (CompressedImage, '/cam/image/compressed')], ''),
    ('raw', '/cam/image', [], ''),
    ('compressed', '/cam/image/compressed', [(CompressedImage, '/cam/image/compressed')], ''),
    ('compressed', '/cam/image/compressed', [], ''),
    ('compressed', '/cam/image/compressed', [(Image, '/cam/image/compressed')],
     '/cam/image/compressed has sensor_msgs/msg/Image, not sensor_msgs/msg/CompressedImage; set '
     'image_transport to raw and remap image to /cam/image/compressed'),
    ('compressed', '/cam/image/compressed', [(PointCloud2, '/cam/image/compressed')],
     '/cam/image/compressed has sensor_msgs/msg/PointCloud2, not sensor_msgs/msg/CompressedImage; '
     'remap image to a topic that has sensor_msgs/msg/CompressedImage on <topic>/compressed'),
    ('compressed', '/cam/image/compressed/compressed',
     [(CompressedImage, '/cam/image/compressed')],
     'image_transport compressed appends /compressed; remap image to /cam/image, not to '
     '/cam/image/compressed'),
    ('compressed', '/cam/image/compressed/compressed', [],
     'image_transport compressed appends /compressed; remap image to /cam/image, not to '
     '/cam/image/compressed'),
    ('compressed', '/cam/image/compressed', [(Image, '/cam/image')],
     'only /cam/image is published, which is not compressed; set image_transport to raw'),
    ('compressed', '/cam/jpeg/compressed', [(CompressedImage, '/cam/jpeg')],
     'the compressed images are on /cam/jpeg; remap /cam/jpeg/compressed to it')])
def test_fact_and_remedy_are_named(
        node: Node, publish: Callable[[type, str], None], transport: str, topic: str,
        published: list[tuple[type, str]], problem: str) -> None:
    for message_type, published_topic in published:
        publish(message_type, published_topic)
    assert image_topic_problem(node, topic, 'image', transport) == problem


def test_any_topic_can_have_the_wrong_type(
        node: Node, publish: Callable[[type, str], None]) -> None:
    assert type_problem(node, '/reference/depth', Image) == ''
    publish(CompressedImage, '/reference/depth')
    assert type_problem(node, '/reference/depth', CompressedImage) == ''
    assert type_problem(node, '/reference/depth', Image) == (
        '/reference/depth has sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image')
