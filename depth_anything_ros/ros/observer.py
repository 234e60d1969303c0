"""A node that changes the lifecycle state of the depth node and receives its outputs."""

from collections.abc import Callable
from pathlib import Path
import time
from typing import Any

from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.foreign_files import last_line
from depth_anything_ros.process import keep_freed_memory
from depth_anything_ros.ros.callbacks import log_exceptions, ThrottledLogger
from depth_anything_ros.ros.rclpy_adapter import refuse_invalid_requests
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
import numpy as np
import numpy.typing as npt
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import Image

RELIABLE = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.RELIABLE)
TRANSITIONS = {
    'configure': Transition.TRANSITION_CONFIGURE, 'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE, 'cleanup': Transition.TRANSITION_CLEANUP}
_GOALS = {'configure': 'inactive', 'activate': 'active', 'deactivate': 'inactive',
          'cleanup': 'unconfigured'}
_ASK_EVERY_S = 2.0


class ObserverError(DepthAnythingError):
    """The observed node does not carry out a request."""


class Observer:
    """
    A node of this process that handles messages only during ``spin_until``.

    ``has_ended`` tells whether the process of the node ``target`` is gone. Errors quote ``log``,
    the file of what that process prints.
    """

    def __init__(self, node_name: str, target: str, log: Path | None = None,
                 has_ended: Callable[[], bool] = lambda: False) -> None:
        keep_freed_memory()
        rclpy.init()
        self.node = Node(node_name)
        refuse_invalid_requests(self.node)
        self._warn = ThrottledLogger(lambda sentence: self.node.get_logger().warning(sentence))
        self._target = target
        self._log = log
        self._has_ended = has_ended
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._lifecycle = self.node.create_client(ChangeState, f'/{target}/change_state')
        self._state = self.node.create_client(GetState, f'/{target}/get_state')

    def change_state(self, transition: str, timeout_s: float = 300.0) -> None:
        """
        Request configure, activate, deactivate or cleanup; ObserverError if that fails.

        The middleware loses a response that is sent before it has discovered the client, so the
        state tells whether the transition is done, too.
        """
        if not self.spin_until(self._lifecycle.service_is_ready, 30.0):
            raise self._error('did not come up')
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[transition]))
        future = self._lifecycle.call_async(request)
        deadline = time.monotonic() + timeout_s
        while not self.spin_until(future.done, _ASK_EVERY_S):
            if self._state_label() == _GOALS[transition]:
                return
            if time.monotonic() > deadline:
                break
        if not future.done() or not future.result().success:
            raise self._error(f'could not {transition}')

    def listen(self, kind: type, topic: str, callback: Callable[[Any], None],
               raw: bool = False) -> None:
        """
        Subscribe with reliable QoS; ``raw`` passes bytes, which is cheaper for counting.

        An exception of ``callback`` is logged.
        """
        self.node.create_subscription(kind, topic,
                                      log_exceptions(callback, self._warn, self.node), RELIABLE,
                                      raw=raw)

    def spin_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """
        Handle messages until ``condition`` is true; return whether it was, within the time.

        ObserverError if the process of the node ends before.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._has_ended():
                raise self._error('ended')
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def _error(self, fact: str) -> ObserverError:
        words = 'see its log' if self._log is None else (
            f'the last line of its log {self._log}: {last_line(self._log)}')
        return ObserverError(f'/{self._target} {fact}; {words}')

    def _state_label(self) -> str:
        """Return the lifecycle state of the observed node, '' if it does not answer."""
        future = self._state.call_async(GetState.Request())
        if not self.spin_until(future.done, _ASK_EVERY_S):
            return ''
        return str(future.result().current_state.label)

    def close(self) -> None:
        """Destroy the node and shut rclpy down."""
        self._executor.shutdown()
        self.node.destroy_node()
        try_shutdown()


def stamp_ns(message: Any) -> int:
    """Return the header's stamp in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def pixels(message: Image) -> npt.NDArray[Any]:
    """Return the array of a 32FC1 [H, W] or bgr8 [H, W, 3] image without padding."""
    if message.encoding == '32FC1':
        return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
