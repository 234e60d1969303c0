"""Messages of a camera reach their callbacks without an executor, over real DDS."""

from collections.abc import Callable, Iterator
from pathlib import Path
import re
import subprocess
import sys
import threading
import time
from typing import Any

from depth_anything_ros.cli.processes import stop
from depth_anything_ros.process import DDS_PROFILE_VARIABLES
from depth_anything_ros.ros import image_subscription, qos
from depth_anything_ros.ros.image_subscription import (
    ImageSubscription, SubscribedTopic, THREAD_NAME)
from depth_anything_ros.ros.messages import SerializedMessage
from nodes import DOMAIN_ID
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.serialization import serialize_message
from rclpy.utilities import get_rmw_implementation_identifier
from robot import camera_info, image_message, RELIABLE
from sensor_msgs.msg import CameraInfo, Image
from unsupported_events import remove_events
from waiting import until, within

PICTURE = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
PUBLISH_LARGE = """
import time
from depth_anything_ros.ros import image_subscription, qos
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
rclpy.init()
publisher = Node('camera').create_publisher(Image, 'large', qos.image_input())
message = Image(height=1000, width=1000, encoding='bgr8', step=3000, data=bytes(3000000))
while rclpy.ok():
    publisher.publish(message)
    time.sleep(0.02)
"""
# Far below the one second after which the thread checks by itself whether to end.
SOON_S = 0.5


class Camera:
    """The publishers of a camera on a node that no executor spins, and what was received."""

    def __init__(self, context: Context, listener: Node) -> None:
        self.node = Node('camera', context=context)
        self.listener = listener
        self.images = self.node.create_publisher(Image, 'image', RELIABLE)
        self.infos = self.node.create_publisher(CameraInfo, 'camera_info', RELIABLE)
        self.received: list[SerializedMessage] = []
        self.warnings: list[str] = []
        self._opened: list[ImageSubscription] = []

    @property
    def publishers(self) -> tuple[Publisher, Publisher]:
        """Return those of images and of camera_info."""
        return self.images, self.infos

    def subscribe(self, callback: Callable[[SerializedMessage], None] | None = None
                  ) -> ImageSubscription:
        """Return a subscription to both topics that both publishers have discovered."""
        receive = callback or self.received.append
        subscription = ImageSubscription(self.listener, (
            SubscribedTopic(Image, 'image', receive, RELIABLE),
            SubscribedTopic(CameraInfo, 'camera_info', receive, RELIABLE)), self.warnings.append)
        self._opened.append(subscription)
        self.await_subscriptions(1)
        return subscription

    def await_subscriptions(self, count: int) -> None:
        """Wait until each topic has so many."""
        assert until(lambda: all(publisher.get_subscription_count() == count
                                 for publisher in self.publishers))

    def close(self) -> None:
        """Close what was opened."""
        for subscription in self._opened:
            subscription.close()
        self.node.destroy_node()


@pytest.fixture
def listener(context: Context) -> Iterator[Node]:
    """Return a node for the subscriptions."""
    node = Node('listener', context=context)
    yield node
    node.destroy_node()


@pytest.fixture
def camera(context: Context, listener: Node) -> Iterator[Camera]:
    """Return a camera that ``listener`` can hear."""
    camera = Camera(context, listener)
    yield camera
    camera.close()


@pytest.fixture(params=['thread', 'executor'])
def any_camera(request: pytest.FixtureRequest, context: Context, camera: Camera, listener: Node,
               monkeypatch: pytest.MonkeyPatch) -> Iterator[Camera]:
    """Return a camera that is received in either way: also without rclpy's private parts."""
    if request.param == 'thread':
        yield camera
        return
    monkeypatch.setattr(image_subscription, 'missing_for_waiting', lambda context: ['WaitSet'])
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(listener)
    sleeper = Sleeper(executor)
    yield camera
    sleeper.close()


def image_threads() -> list[threading.Thread]:
    """Return the threads of the subscriptions that are open."""
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def test_messages_arrive_byte_for_byte_and_in_order(any_camera: Camera) -> None:
    any_camera.subscribe()
    infos = [camera_info(64, 48, 50.0 + number) for number in range(5)]
    images = [image_message(PICTURE + number, stamp_ns=number) for number in range(5)]
    for info, image in zip(infos, images):
        any_camera.infos.publish(info)
        any_camera.images.publish(image)
    assert until(lambda: len(any_camera.received) == 10)
    found = [serialized.message for serialized in any_camera.received]
    assert [message for message in found if isinstance(message, CameraInfo)] == infos
    assert [message for message in found if isinstance(message, Image)] == images
    assert any_camera.warnings == []


def test_nobody_has_to_spin_the_node_and_callbacks_share_one_thread(camera: Camera) -> None:
    threads: list[threading.Thread] = []
    camera.subscribe(lambda serialized: threads.append(threading.current_thread()))
    for number in range(1, 4):
        camera.images.publish(image_message(PICTURE))
        camera.infos.publish(camera_info(64, 48))
        assert until(lambda number=number: len(threads) == 2 * number)
    assert {thread.name for thread in threads} == {THREAD_NAME} and len(set(threads)) == 1


class Sleeper:
    """A thread in ``executor.spin_once``, and how often it was woken."""

    def __init__(self, executor: SingleThreadedExecutor) -> None:
        self._executor = executor
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._closing.is_set():
            self._executor.spin_once(timeout_sec=60)

    def wakings(self) -> int:
        """Return how often the thread has gone to sleep so far."""
        status = Path(f'/proc/self/task/{self._thread.native_id}/status').read_text()
        return int(status.split('\nvoluntary_ctxt_switches:')[1].split()[0])

    def settle(self) -> int:
        """Wait until it sleeps undisturbed and return ``wakings``."""
        def quiet() -> bool:
            before = self.wakings()
            time.sleep(0.1)
            return self.wakings() == before
        assert until(quiet)
        return self.wakings()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._executor.shutdown()
        self._thread.join(5)


@pytest.mark.skipif(not Path('/proc/self/task').exists(), reason='needs Linux')
def test_an_executor_that_spins_the_node_sleeps_on_while_images_flow(
        context: Context, camera: Camera) -> None:
    """A subscription of its own wakes it with every message."""
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(camera.listener)
    camera.subscribe()
    sleeper = Sleeper(executor)
    try:
        before = sleeper.settle()
        for number in range(1, 31):
            camera.images.publish(image_message(PICTURE))
            assert until(lambda number=number: len(camera.received) == number)
        assert sleeper.wakings() - before <= 2
        own: list[Any] = []
        camera.listener.create_subscription(Image, 'image', own.append, RELIABLE)
        assert until(lambda: camera.images.get_subscription_count() == 2)
        before = sleeper.settle()
        for number in range(1, 31):
            camera.images.publish(image_message(PICTURE))
            assert until(lambda number=number: len(own) == number)
        assert sleeper.wakings() - before >= 30
    finally:
        sleeper.close()


def test_a_callback_that_raises_is_reported_and_the_next_message_arrives(
        any_camera: Camera) -> None:
    """Also a message on the other topic."""
    def receive(serialized: SerializedMessage) -> None:
        if serialized.stamp_ns == 13:
            raise ValueError('bad luck')
        any_camera.received.append(serialized)

    any_camera.subscribe(receive)
    for _ in range(2):
        any_camera.images.publish(image_message(PICTURE, stamp_ns=13))
    assert until(lambda: len(any_camera.warnings) == 2)
    any_camera.infos.publish(camera_info(64, 48))
    any_camera.images.publish(image_message(PICTURE, stamp_ns=14))
    assert until(lambda: len(any_camera.received) == 2)
    assert any_camera.warnings == ["a message was lost: ValueError('bad luck')"] * 2


def test_bytes_of_another_type_are_ignored_with_a_sentence_that_names_the_topic(
        any_camera: Camera) -> None:
    """As from a publisher whose package has another version of the message."""
    any_camera.subscribe(lambda serialized: any_camera.received.append(serialized.message))
    any_camera.infos.publish(serialize_message(camera_info(64, 48))[:60])
    assert until(lambda: len(any_camera.warnings) == 1)
    assert re.fullmatch(r'a message on /\S*camera_info is ignored: 60 bytes are no CameraInfo .*; '
                        r'its publisher has another version of the type.*', any_camera.warnings[0])
    any_camera.infos.publish(camera_info(64, 48))
    assert until(lambda: len(any_camera.received) == 1)


def test_a_middleware_that_does_not_report_lost_messages_is_used_without_that(
        camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = remove_events(monkeypatch, 'MESSAGE_LOST')
    camera.subscribe()
    camera.infos.publish(camera_info(64, 48))
    assert until(lambda: len(camera.received) == 1)
    assert refused


@pytest.mark.skipif('fastrtps' not in get_rmw_implementation_identifier(),
                    reason='only Fast DDS loses messages for their size')
def test_lost_messages_are_counted_and_reported_with_the_remedy(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Best effort, larger than the shared memory of Fast DDS, from another process."""
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN_ID))
    for name in DDS_PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    context = Context()
    rclpy.init(context=context)
    node = Node('listener', context=context)
    lost: list[int] = []
    warnings: list[str] = []
    topic = SubscribedTopic(Image, 'large', lambda serialized: None, qos.image_input(),
                            lost.append)
    subscription = ImageSubscription(node, (topic,), warnings.append)
    publisher = subprocess.Popen([sys.executable, '-c', PUBLISH_LARGE])
    try:
        assert until(lambda: bool(lost and warnings), 60)
        assert min(lost) > 0
        assert warnings[0].startswith('messages on /large get lost on the way to this node; ')
        assert 'qos_overrides./large.subscription.reliability to reliable' in warnings[0]
    finally:
        # Fast DDS can crash when a node ends whose peer was killed within their shared memory.
        stop(publisher)
        subscription.close()
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def test_the_profile_is_named_for_fast_dds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for middleware, named in (('rmw_fastrtps_cpp', True), ('rmw_cyclonedds_cpp', False)):
        monkeypatch.setattr(qos, 'get_rmw_implementation_identifier', lambda name=middleware: name)
        assert ('dds_profile:=fastdds.xml' in qos.lost_remedy('/image')) == named


def test_close_ends_the_thread_soon_unsubscribes_and_can_be_repeated(camera: Camera) -> None:
    subscription = camera.subscribe()
    time.sleep(0.05)
    for _ in range(3):
        started = time.monotonic()
        subscription.close()
        assert time.monotonic() - started < SOON_S
        assert image_threads() == []
    camera.await_subscriptions(0)
    assert list(camera.listener.subscriptions) == []


def test_close_waits_for_the_callback_and_none_runs_afterwards(any_camera: Camera) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def receive(serialized: SerializedMessage) -> None:
        entered.set()
        go_on.wait(5)
        any_camera.received.append(serialized)

    subscription = any_camera.subscribe(receive)
    for _ in range(5):
        any_camera.images.publish(image_message(PICTURE))
    assert entered.wait(5)
    threading.Timer(0.1, go_on.set).start()
    within(5, subscription.close)
    assert len(any_camera.received) == 1
    time.sleep(0.05)
    assert len(any_camera.received) == 1


def test_close_works_after_ros_was_shut_down(context: Context, camera: Camera) -> None:
    subscription = camera.subscribe()
    rclpy.shutdown(context=context)
    for _ in range(2):
        started = time.monotonic()
        within(5, subscription.close)
        assert time.monotonic() - started < SOON_S
    assert image_threads() == [] and camera.warnings == []


def test_the_thread_ends_with_rclpy_without_close(context: Context, camera: Camera) -> None:
    camera.subscribe()
    rclpy.shutdown(context=context)
    assert until(lambda: image_threads() == [], 5)
    assert camera.warnings == []


def test_opening_and_closing_many_times_leaves_nothing(any_camera: Camera) -> None:
    entities = (list(any_camera.listener.waitables), list(any_camera.listener.guards))
    for cycle in range(1, 26):
        subscription = any_camera.subscribe()
        any_camera.images.publish(image_message(PICTURE))
        assert until(lambda cycle=cycle: len(any_camera.received) == cycle)
        subscription.close()
        any_camera.await_subscriptions(0)
    assert image_threads() == [] and list(any_camera.listener.subscriptions) == []
    assert (list(any_camera.listener.waitables), list(any_camera.listener.guards)) == entities


def test_a_subscription_that_fails_takes_the_others_with_it(context: Context) -> None:
    """Here because of an invalid QoS override."""
    listener = Node('listener', context=context, parameter_overrides=[
        Parameter('qos_overrides./camera_info.subscription.reliability', value='sometimes')])
    camera = Camera(context, listener)
    try:
        with pytest.raises(Exception, match='sometimes|reliability'):
            ImageSubscription(listener, (
                SubscribedTopic(Image, 'image', camera.received.append, qos.image_input()),
                SubscribedTopic(CameraInfo, 'camera_info', camera.received.append,
                                qos.camera_info_input())), camera.warnings.append)
        assert list(listener.subscriptions) == [] and image_threads() == []
        camera.await_subscriptions(0)
    finally:
        camera.close()
        listener.destroy_node()
