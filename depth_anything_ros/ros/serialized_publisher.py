"""Publishes messages of arrays with fewer copies than rclpy, while other threads go on."""

from depth_anything_ros.ros.messages import ArrayMessage
from depth_anything_ros.ros.rclpy_adapter import missing_for_publishing, publish_memory
import numpy as np
from rclpy.lifecycle import LifecyclePublisher
from rclpy.publisher import Publisher


class SerializedPublisher:
    """
    Sends the messages of one topic from memory that each of them overwrites; for one thread.

    ``Publisher.publish`` takes bytes, into which the array must be copied first. rclpy copies
    them once more and keeps Python's global lock until the middleware has copied them, too. The
    function of rcl takes any memory, and other threads run meanwhile. Where it cannot be called,
    messages are published as bytes.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._has_memory = not missing_for_publishing()
        self._memory = np.empty(0, np.uint8)

    def publish(self, message: ArrayMessage) -> None:
        """Send ``message``, unless this is the publisher of a node that is not active."""
        publisher = self._publisher
        if isinstance(publisher, LifecyclePublisher) and not publisher.is_activated:
            return
        if not self._has_memory or not self._sent(message):
            # It also raises the errors of rclpy.
            publisher.publish(bytes(message))

    def _sent(self, message: ArrayMessage) -> bool:
        size = len(message)
        if self._memory.size < size:
            self._memory = np.empty(size, np.uint8)
        message.write(self._memory[:size])
        return publish_memory(self._publisher, self._memory.ctypes.data, size)
