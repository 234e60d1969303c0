"""Images and camera_info of one camera, received on a thread of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
import threading
from typing import Any

from depth_anything_ros.errors import MessageError
from depth_anything_ros.ros import qos
from depth_anything_ros.ros.messages import SerializedMessage
from depth_anything_ros.ros.rclpy_adapter import SubscriptionWaitSet
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.node import Node
from rclpy.qos import QoSProfile

_WAIT_NS = 1_000_000_000
# Pause after an error, which may otherwise repeat without end.
_PAUSE_S = 0.01
THREAD_NAME = 'images'


@dataclass(frozen=True)
class SubscribedTopic:
    """
    A topic, its type and QoS, and the callback for its messages, which must not block.

    ``on_lost`` gets the number of messages that did not arrive.
    """

    message_type: type
    name: str
    callback: Callable[[SerializedMessage], None]
    profile: QoSProfile
    on_lost: Callable[[int], object] = int


class ImageSubscription:
    """
    The subscriptions of one camera and the thread that calls their callbacks.

    With every message an executor of rclpy lists all entities of its nodes again, which takes
    longer than receiving an image. This thread waits for these subscriptions only, as
    ``rclpy.wait_for_message`` does, and for their QoS events, because a message also wakes any
    executor that waits for an event of its subscription. ``warn`` gets one sentence for each
    message that could not be handled. ``close`` may be called repeatedly and from any thread but
    that of the callbacks.
    """

    def __init__(self, node: Node, topics: Sequence[SubscribedTopic],
                 warn: Callable[[str], None], thread_name: str = THREAD_NAME) -> None:
        self._node = node
        self._topics = tuple(topics)
        self._warn = warn
        self._closing = threading.Event()
        self._wake = GuardCondition(None, None, context=node.context)
        self._subscriptions: list[Any] = []
        self._thread = threading.Thread(target=self._run, name=thread_name, daemon=True)
        try:
            for topic in self._topics:
                self._subscriptions.append(self._subscribe(topic))
            self._wait_set = SubscriptionWaitSet(node.context, tuple(self._subscriptions),
                                                 self._wake)
            self._thread.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Wait for the current callback, end the thread and unsubscribe; idempotent."""
        if not self._closing.is_set():
            self._closing.set()
            self._wake.trigger()
        if self._thread.is_alive():
            self._thread.join()
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        self._wake.destroy()

    def _subscribe(self, topic: SubscribedTopic) -> Any:
        return self._node.create_subscription(
            topic.message_type, topic.name, partial(_deliver, topic), topic.profile,
            raw=True, callback_group=_NotExecuted(),
            qos_overriding_options=qos.overridable(),
            event_callbacks=qos.subscription_events(
                self._node.resolve_topic_name(topic.name), self._warn, topic.on_lost))

    def _run(self) -> None:
        with self._wait_set as wait_set:
            while self._is_open():
                try:
                    for index, data in wait_set.messages(_WAIT_NS):
                        self._receive(self._topics[index], data)
                except Exception as error:  # noqa: B902 - one bad message must not end the thread
                    if self._is_open():
                        self._warn(f'a message was lost: {error!r}')
                        self._closing.wait(_PAUSE_S)

    def _receive(self, topic: SubscribedTopic, data: bytes) -> None:
        try:
            _deliver(topic, data)
        except MessageError as error:
            self._warn(f'a message on {self._node.resolve_topic_name(topic.name)} is ignored: '
                       f'{error}')

    def _is_open(self) -> bool:
        return not self._closing.is_set() and bool(self._node.context.ok())


def _deliver(topic: SubscribedTopic, data: bytes) -> None:
    topic.callback(SerializedMessage(topic.message_type, data))


class _NotExecuted(MutuallyExclusiveCallbackGroup):
    """Keeps executors from waiting for subscriptions that a thread of ours waits for."""

    def can_execute(self, entity: Any) -> bool:
        return False
