"""The messages of a camera, taken on a thread that waits for nothing else."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
import threading
from typing import Any

from depth_anything_ros.ros import qos
from depth_anything_ros.ros.messages import SerializedMessage
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import QoSProfile

_WAIT_NS = 1_000_000_000
# What goes wrong once may go wrong each time.
_PAUSE_S = 0.01


@dataclass(frozen=True)
class Input:
    """A topic and who gets its messages, which must not block."""

    kind: type
    topic: str
    callback: Callable[[SerializedMessage], None]
    profile: QoSProfile


class ImageSubscription:
    """
    The subscriptions of one camera and the thread that hands over what they receive.

    rclpy's executors list everything that a node waits for anew with each message, which takes
    longer than receiving an image; this thread waits for these subscriptions alone, the way
    ``rclpy.wait_for_message`` does, and for their events, because whoever waits for those is
    woken by every message too. ``close`` may be called from any thread but a callback's, and
    again.
    """

    def __init__(self, node: Node, inputs: Sequence[Input], warn: Callable[[str], None]) -> None:
        self._node = node
        self._warn = warn
        self._closing = threading.Event()
        self._wake = GuardCondition(None, None, context=node.context)
        # Subscriptions with their events, which rclpy's types call one event.
        self._taken: list[tuple[Any, Input]] = []
        self._thread = threading.Thread(target=self._run, name='intake', daemon=True)
        try:
            for one in inputs:
                self._taken.append((self._subscribe(one), one))
            self._thread.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take no more messages and unsubscribe; idempotent."""
        if not self._closing.is_set():
            self._closing.set()
            self._wake.trigger()
        if self._thread.is_alive():
            self._thread.join()
        while self._taken:
            self._node.destroy_subscription(self._taken.pop()[0])
        self._wake.destroy()

    def _subscribe(self, one: Input) -> Any:
        resolved = self._node.resolve_topic_name(one.topic)
        return self._node.create_subscription(
            one.kind, one.topic, partial(_hand_over, one), one.profile,
            raw=True, callback_group=_NotExecuted(),
            qos_overriding_options=qos.overridable(),
            event_callbacks=qos.subscription_events(resolved, self._warn))

    def _run(self) -> None:
        subscriptions = [subscription for subscription, _ in self._taken]
        events = [event for one in subscriptions for event in one.event_handlers]
        with ExitStack() as in_use:
            # What is waited for must not be destroyed meanwhile, whoever shuts rclpy down.
            for entity in (self._node.context.handle, self._wake.handle,
                           *(one.handle for one in subscriptions), *events):
                in_use.enter_context(entity)
            self._take_until_closed(rclpy_implementation.WaitSet(
                len(subscriptions), 1, 0, 0, 0, len(events), self._node.context.handle))

    def _take_until_closed(self, wait_set: Any) -> None:
        while not self._closing.is_set() and self._node.context.ok():
            try:
                self._take(wait_set)
            except Exception as error:  # noqa: B902 - one bad message must not end the thread
                if not self._closing.is_set() and self._node.context.ok():
                    self._warn(f'a message was lost: {error!r}')
                    self._closing.wait(_PAUSE_S)

    def _take(self, wait_set: Any) -> None:
        wait_set.clear_entities()
        wait_set.add_guard_condition(self._wake.handle)
        for subscription, _ in self._taken:
            wait_set.add_subscription(subscription.handle)
            for event in subscription.event_handlers:
                event.add_to_wait_set(wait_set)
        wait_set.wait(_WAIT_NS)
        ready = wait_set.get_ready_entities('subscription')
        for subscription, one in self._taken:
            for event in subscription.event_handlers:
                if event.is_ready(wait_set) and (happened := event.take_data()) is not None:
                    event.callback(happened)
            if subscription.handle.pointer in ready:
                taken = subscription.handle.take_message(one.kind, True)
                if taken is not None:
                    _hand_over(one, taken[0])


def _hand_over(one: Input, data: bytes) -> None:
    one.callback(SerializedMessage(one.kind, data))


class _NotExecuted(MutuallyExclusiveCallbackGroup):
    """Keeps the executor from waiting for what somebody else waits for."""

    def can_execute(self, entity: Any) -> bool:
        return False
