"""Publishes messages of arrays with fewer copies than rclpy, while other threads go on."""

from collections.abc import Callable
import ctypes
from functools import lru_cache
from typing import Any

from depth_anything_ros.ros.messages import ArrayMessage
import numpy as np
from rclpy.lifecycle import LifecyclePublisher
from rclpy.publisher import Publisher

_Publish = Callable[[int, Any, None], int]


class SerializedPublisher:
    """
    Sends the messages of one topic from memory that each of them overwrites; for one thread.

    ``Publisher.publish`` takes bytes, into which the array must be copied first. rclpy copies
    them once more and keeps Python's global lock until the middleware has copied them, too. The
    function of rcl takes any memory, and other threads run meanwhile. Where rcl cannot be called,
    messages are published as bytes.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._memory = np.empty(0, np.uint8)

    def publish(self, message: ArrayMessage) -> None:
        """Send ``message``, unless this is the publisher of a node that is not active."""
        publisher, publish = self._publisher, _rcl_publish()
        if isinstance(publisher, LifecyclePublisher) and not publisher.is_activated:
            return
        if publish is None or not self._sent(publish, message):
            # It also raises the errors of rclpy.
            publisher.publish(bytes(message))

    def _sent(self, publish: _Publish, message: ArrayMessage) -> bool:
        size = len(message)
        if self._memory.size < size:
            self._memory = np.empty(size, np.uint8)
        message.write(self._memory[:size])
        serialized = _SerializedMessage(self._memory.ctypes.data, size, size)
        handle = self._publisher.handle
        with handle:
            return publish(handle.pointer, ctypes.byref(serialized), None) == 0


class _Allocator(ctypes.Structure):
    """``rcutils_allocator_t``."""

    _fields_ = [(name, ctypes.c_void_p) for name in (
        'allocate', 'deallocate', 'reallocate', 'zero_allocate', 'state')]


class _SerializedMessage(ctypes.Structure):
    """``rcl_serialized_message_t``."""

    _fields_ = [('buffer', ctypes.c_void_p), ('buffer_length', ctypes.c_size_t),
                ('buffer_capacity', ctypes.c_size_t), ('allocator', _Allocator)]


@lru_cache(maxsize=1)
def _rcl_publish() -> _Publish | None:
    """Return rcl_publish_serialized_message, None where there is no such function."""
    try:
        publish = ctypes.CDLL('librcl.so').rcl_publish_serialized_message
    except (OSError, AttributeError):
        return None
    publish.argtypes = (ctypes.c_void_p, ctypes.POINTER(_SerializedMessage), ctypes.c_void_p)
    publish.restype = ctypes.c_int
    return publish
