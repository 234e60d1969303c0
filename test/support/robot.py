"""The other nodes of a robot: publishers and subscribers for a depth node, and messages."""

from collections.abc import Callable
import threading
import time
from typing import Any

from depth_anything_ros.node.camera_stream import CameraStream
from depth_anything_ros.node.node import DepthAnythingNode
from depth_anything_ros.ros.messages import SerializedMessage
from depth_anything_ros.ros.rclpy_adapter import lifecycle_state
import numpy as np
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool

# Best effort loses large messages between the processes of a busy machine.
RELIABLE_INPUTS = {f'qos_overrides./{topic}.subscription.reliability': 'reliable'
                   for topic in ('image', 'camera_info', 'image/compressed')}
RELIABLE = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)


def image_message(pixels: np.ndarray, encoding: str = 'bgr8', stamp_ns: int = 0,
                  padding: int = 0) -> Image:
    """Return a message of 8-bit pixels; ``padding`` bytes are added to every row."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1],
                    data=rows.tobytes())
    message.header.frame_id = 'camera_optical'
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10 ** 9)
    return message


def as_received(message: Any) -> SerializedMessage:
    """Return a message as the node receives it."""
    return SerializedMessage(type(message), serialize_message(message))


def camera_info(width: int, height: int, focal: float = 100.0) -> CameraInfo:
    """Return the pinhole camera of that size with its centre in the middle."""
    cx, cy = (width - 1) / 2, (height - 1) / 2
    info = CameraInfo(width=width, height=height, distortion_model='plumb_bob',
                      d=[0.0] * 5, k=[focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0],
                      p=[focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0])
    info.header.frame_id = 'camera_optical'
    return info


class Robot:
    """The other nodes: publishes images and collects the outputs of the depth node."""

    def __init__(self, context: Context, node: DepthAnythingNode) -> None:
        self.depth = node
        self.node = Node('robot', context=context)
        self.received: dict[str, list[Any]] = {}
        self._publishers: dict[str, Any] = {}
        self._stamp_ns = 10 ** 9
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._executor.add_node(node)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def freeze_alignment(self, on: bool) -> Any:
        """Call the service and return its answer."""
        client = self.node.create_client(SetBool, '/depth_anything/freeze_alignment')
        assert self.until(client.service_is_ready)
        future = client.call_async(SetBool.Request(data=on))
        assert self.until(future.done)
        return future.result()

    def listen(self, kind: type, topic: str) -> list[Any]:
        """Subscribe and return the list that fills."""
        messages = self.received.setdefault(topic, [])
        self.node.create_subscription(kind, topic, messages.append, RELIABLE)
        self.until(lambda: self._is_matched(topic) or not self._is_active())
        return messages

    def publish(self, topic: str, message: Any, profile: QoSProfile = RELIABLE) -> None:
        """Publish after the topic has a subscriber."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(type(message), topic, profile)
        publisher = self._publishers[topic]
        assert self.until(lambda: publisher.get_subscription_count() > 0), f'{topic}: no listener'
        publisher.publish(message)

    def show(self, pixels: np.ndarray, camera: str = '', **kwargs: Any) -> Image:
        """Publish ``pixels`` on image with a fresh stamp and return the message."""
        self._stamp_ns += 33_000_000
        message = image_message(pixels, **{'stamp_ns': self._stamp_ns, **kwargs})
        self.publish(f'{camera}/image' if camera else 'image', message)
        return message

    def set_parameters(self, **values: Any) -> list[Any]:
        """Set parameters of the depth node and return the results."""
        return self.depth.set_parameters([Parameter(name, value=value)
                                          for name, value in values.items()])

    def stream(self, camera: str = '') -> CameraStream:
        """Return the depth node's stream of one camera."""
        return self.depth._streams[camera]

    def show_camera(self, info: CameraInfo, camera: str = '') -> None:
        """Publish a camera_info and wait until the node has received it."""
        self.publish(f'{camera}/camera_info' if camera else 'camera_info', info)
        assert self.until(lambda: self.stream(camera)._camera_info == info)

    def bring_up(self) -> None:
        """Configure and activate; both must succeed."""
        assert self.depth.trigger_configure().name == 'SUCCESS'
        assert self.depth.trigger_activate().name == 'SUCCESS'

    def until(self, condition: Callable[[], bool], timeout_s: float = 120.0) -> bool:
        """Wait for ``condition`` and return whether it came true."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def close(self) -> None:
        """Stop spinning and destroy both nodes."""
        self._closing.set()
        self._thread.join(5)
        self._executor.shutdown()
        self.depth.destroy_node()
        self.node.destroy_node()

    def _spin(self) -> None:
        while not self._closing.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def _is_matched(self, topic: str) -> bool:
        return any(publisher.get_subscription_count() for publisher in self.depth.publishers
                   if publisher.topic_name == topic)

    def _is_active(self) -> bool:
        return lifecycle_state(self.depth) == 'active'
