"""Images and camera_info of one camera, received on a thread of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
import threading
from typing import Any

from depth_anything_ros.errors import MessageError
from depth_anything_ros.ros import qos
from depth_anything_ros.ros.messages import SerializedMessage
from depth_anything_ros.ros.rclpy_adapter import (
    missing_for_waiting, RclpyError, SubscriptionWaitSet)
from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
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

    ``on_lost`` gets the number of messages that did not arrive. ``overridable`` declares the
    parameters qos_overrides, which keep the first ``profile`` of a topic for the life of its node.
    """

    message_type: type
    name: str
    callback: Callable[[SerializedMessage], None]
    profile: QoSProfile
    on_lost: Callable[[int], object] = int
    overridable: bool = True


class ImageSubscription:
    """
    The subscriptions of one camera and the thread that calls their callbacks.

    With every message an executor of rclpy lists all entities of its nodes again, which takes
    longer than receiving an image. This thread waits for these subscriptions only, as
    ``rclpy.wait_for_message`` does, and for their QoS events, because a message also wakes any
    executor that waits for an event of its subscription. If rclpy lacks a part that this needs,
    the executor of ``node`` calls the callbacks. ``warn`` gets one sentence for each message that
    could not be handled. ``close`` may be called repeatedly and from any thread, but not by a
    callback.
    """

    def __init__(self, node: Node, topics: Sequence[SubscribedTopic],
                 warn: Callable[[str], None], thread_name: str = THREAD_NAME) -> None:
        self._node = node
        self._topics = tuple(topics)
        self._warn = warn
        self._closing = threading.Event()
        self._subscriptions: list[Any] = []
        self._wait_set: SubscriptionWaitSet | None = None
        self._thread: threading.Thread | None = None
        # Held while the executor calls a callback.
        self._called = threading.Lock()
        try:
            if not missing_for_waiting(node.context):
                self._receive_on_thread(thread_name)
            if self._thread is None:
                self._subscribe(MutuallyExclusiveCallbackGroup())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Wait for the current callback, end the thread and unsubscribe; idempotent."""
        if not self._closing.is_set():
            self._closing.set()
            if self._wait_set is not None:
                self._wait_set.wake()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        with self._called:
            self._unsubscribe()
        if self._wait_set is not None:
            self._wait_set.destroy()

    def _receive_on_thread(self, name: str) -> None:
        """Subscribe and start the thread, or leave nothing if rclpy lacks a part."""
        self._subscribe(_NotExecuted())
        try:
            self._wait_set = SubscriptionWaitSet(self._node.context, tuple(self._subscriptions))
        except RclpyError as error:
            self._warn(str(error))
            self._unsubscribe()
            return
        self._thread = threading.Thread(target=self._run, args=(self._wait_set,), name=name,
                                        daemon=True)
        self._thread.start()

    def _subscribe(self, group: CallbackGroup) -> None:
        for topic in self._topics:
            name = self._node.resolve_topic_name(topic.name)
            with qos.naming_overrides(name, 'subscription'):
                self._subscriptions.append(self._node.create_subscription(
                    topic.message_type, topic.name, partial(self._on_message, topic),
                    topic.profile, raw=True, callback_group=group,
                    qos_overriding_options=qos.overridable() if topic.overridable else None,
                    event_callbacks=qos.subscription_events(name, self._warn, topic.on_lost)))

    def _unsubscribe(self) -> None:
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def _run(self, waiting: SubscriptionWaitSet) -> None:
        with waiting as wait_set:
            while self._is_open():
                try:
                    for index, data in wait_set.messages(_WAIT_NS):
                        self._receive(self._topics[index], data)
                except Exception as error:  # noqa: B902 - one bad message must not end the thread
                    self._lose(error)
                    self._closing.wait(_PAUSE_S)

    def _on_message(self, topic: SubscribedTopic, data: bytes) -> None:
        """Receive what the executor has taken."""
        with self._called:
            try:
                if self._is_open():
                    self._receive(topic, data)
            except Exception as error:  # noqa: B902 - one bad message must not end the executor
                self._lose(error)

    def _receive(self, topic: SubscribedTopic, data: bytes) -> None:
        try:
            topic.callback(SerializedMessage(topic.message_type, data))
        except MessageError as error:
            self._warn(f'a message on {self._node.resolve_topic_name(topic.name)} is ignored: '
                       f'{error}')

    def _lose(self, error: Exception) -> None:
        if self._is_open():
            self._warn(f'a message was lost: {error!r}')

    def _is_open(self) -> bool:
        return not self._closing.is_set() and bool(self._node.context.ok())


class _NotExecuted(MutuallyExclusiveCallbackGroup):
    """Keeps executors from waiting for subscriptions that a thread of ours waits for."""

    def can_execute(self, entity: Any) -> bool:
        return False
