"""The topics of one camera that are shown: subscribed only while they are wanted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
import threading

from depth_anything_ros.ros import qos
from depth_anything_ros.ros.image_subscription import ImageSubscription, SubscribedTopic
from depth_anything_ros.ros.messages import SerializedMessage
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2


@dataclass(frozen=True)
class Topic:
    """A topic to subscribe to."""

    message_type: type
    name: str


class Newest:
    """
    The newest message of each key; a message that was not taken is replaced and counted.

    All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages: dict[tuple[str, str], SerializedMessage] = {}
        self._closed = False
        self.dropped = 0

    def put(self, key: tuple[str, str], message: SerializedMessage) -> None:
        """Keep ``message`` until it is taken or replaced."""
        with self._changed:
            self.dropped += key in self._messages
            self._messages[key] = message
            self._changed.notify()

    def take(self) -> dict[tuple[str, str], SerializedMessage]:
        """Wait for a message and return all that are kept; {} after ``close``."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._closed)
            taken, self._messages = self._messages, {}
            return {} if self._closed else taken

    def close(self) -> None:
        """End a waiting ``take``; later ones return {} at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Feeds:
    """
    The subscriptions of all cameras, by camera and panel.

    ``show`` opens and closes subscriptions so that exactly the given topics are subscribed. Each
    has a thread of its own that passes its newest message to ``receive``. All methods belong to
    one thread.
    """

    def __init__(self, node: Node, receive: Callable[[tuple[str, str], SerializedMessage], None],
                 warn: Callable[[str], None]) -> None:
        self._node = node
        self._receive = receive
        self._warn = warn
        self._open: dict[tuple[str, str], tuple[Topic, ImageSubscription]] = {}

    def show(self, wanted: Mapping[tuple[str, str], Topic]) -> None:
        """Subscribe to exactly the topics of ``wanted`` that somebody publishes."""
        published = {key: topic for key, topic in wanted.items()
                     if self._node.count_publishers(topic.name)}
        for key in list(self._open):
            if published.get(key) != self._open[key][0]:
                self._open.pop(key)[1].close()
        for key, topic in published.items():
            if key not in self._open:
                self._open[key] = topic, self._subscribe(key, topic)

    def close(self) -> None:
        """Unsubscribe from everything; idempotent."""
        self.show({})

    def _subscribe(self, key: tuple[str, str], topic: Topic) -> ImageSubscription:
        return ImageSubscription(
            self._node, [SubscribedTopic(
                topic.message_type, topic.name, partial(self._receive, key),
                self._profile(topic.name), overridable=False)],
            self._warn, thread_name=f'view {key[1]}')

    def _profile(self, name: str) -> QoSProfile:
        """Return reliable QoS where every publisher offers it: large images arrive complete."""
        reliable = all(info.qos_profile.reliability == QoSReliabilityPolicy.RELIABLE
                       for info in self._node.get_publishers_info_by_topic(name))
        profile = qos.image_input()
        if reliable:
            profile.reliability = QoSReliabilityPolicy.RELIABLE
        return profile


def image_input(name: str) -> Topic:
    """Return the topic of the node's input images, whose name tells how they are transported."""
    return Topic(CompressedImage if name.endswith('/compressed') else Image, name)


def output(node: str, camera: str, panel: str) -> Topic:
    """Return the topic of an output of the depth node ``node`` that a panel shows."""
    kind, topic = {'depth': (Image, 'color/image'), 'cloud': (PointCloud2, 'points'),
                   'relative camera': (CameraInfo, 'inverse_depth/camera_info'),
                   'metric camera': (CameraInfo, 'depth/camera_info')}[panel]
    return Topic(kind, '/'.join(filter(None, (node, camera, topic))))
