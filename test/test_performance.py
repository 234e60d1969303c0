"""What is fast stays fast: ratios of what takes turns here, of the best rounds, with margin."""

from array import array
from collections.abc import Callable, Iterator
import os
from pathlib import Path
import threading
import time
from typing import Any

import cv2
from depth_anything_ros.process import keep_freed_memory
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
import pytest
from waiting import Outcomes, until

SMALL_HW, CAMERA_HW = (120, 160), (480, 640)


@pytest.fixture(autouse=True)
def _memory_as_in_the_node() -> None:
    """Measure no page faults of large buffers, which would outweigh everything else."""
    keep_freed_memory()


def ratio(run: Callable[[], float], other: Callable[[], float], rounds: int = 5) -> float:
    """Return what ``run`` costs over what ``other`` does, both at their best of several rounds."""
    costs = [(run(), other()) for _ in range(rounds)]
    return min(cost for cost, _ in costs) / min(cost for _, cost in costs)


def cpu_s(call: Callable[[], object]) -> float:
    """Return the CPU time of this thread for the fastest of many calls."""
    times = []
    for _ in range(30):
        started = time.thread_time()
        call()
        times.append(time.thread_time() - started)
    return min(times)


def test_the_engine_takes_little_more_cpu_time_than_the_bare_model(
        make_ir: Callable[..., Path]) -> None:
    """Though it resizes every image and hands over a copy of every map."""
    from depth_anything_ros.benchmark.bare_model import BareModel
    from depth_anything_ros.inference.engine import Engine, EngineOptions
    model = make_ir(slow_layers=4)
    bare = BareModel(model, image_hw=SMALL_HW)
    engine = Engine(model, EngineOptions(image_hw=SMALL_HW, requests=2))
    image = ColorImage(self_check_image(SMALL_HW), 'bgr')

    def engine_s() -> float:
        outcomes = Outcomes()
        started = time.process_time()
        for _ in range(8):
            engine.submit(image, outcomes)
        outcomes.first(8)
        return (time.process_time() - started) / 8

    def bare_s() -> float:
        started = time.process_time()
        for _ in range(8):
            bare._request.infer([bare._input], share_inputs=True)
        return (time.process_time() - started) / 8

    try:
        assert ratio(engine_s, bare_s, 10) < 1.2
    finally:
        engine.close()


class Topics:
    """A publisher of images, and one listener with an executor for all that it waits for."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.lifecycle import LifecycleNode
        from rclpy.node import Node
        self.context = Context()
        rclpy.init(context=self.context, domain_id=64 + os.getpid() % 36)
        self.camera = Node('camera', context=self.context)
        self.listener = LifecycleNode('listener', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.listener)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)

    def spin(self) -> None:
        """Spin the listener on a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and destroy the nodes."""
        from rclpy.utilities import try_shutdown
        self._executor.shutdown()
        if self._thread.is_alive():
            self._thread.join(5)
        self.listener.destroy_node()
        self.camera.destroy_node()
        try_shutdown(context=self.context)


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Iterator[Topics]:
    """Return two nodes that see nobody else."""
    pytest.importorskip('rclpy')
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF')
    topics = Topics()
    yield topics
    topics.close()


def test_an_image_subscription_needs_less_time_per_image_than_an_executor(topics: Topics) -> None:
    """
    The CPU time of both between two messages, by the clock of their own thread.

    A few pixels, because copying many takes both as long, and longer the busier the machine is.
    """
    from depth_anything_ros.ros.image_subscription import ImageSubscription, SubscribedTopic
    from depth_anything_ros.ros.messages import SerializedMessage
    from robot import image_message, RELIABLE
    from sensor_msgs.msg import Image
    message = image_message(np.zeros((2, 2, 3), np.uint8))
    ticks: list[float] = []

    def tick(incoming: SerializedMessage) -> None:
        ticks.append(time.thread_time())

    def per_message_s(publisher: Any) -> float:
        ticks.clear()
        for number in range(1, 22):
            publisher.publish(message)
            assert until(lambda number=number: len(ticks) == number)
        return float(np.median(np.diff(ticks)))

    past, through = (topics.camera.create_publisher(Image, topic, RELIABLE)
                     for topic in ('past', 'through'))
    topics.listener.create_subscription(
        Image, 'through', lambda data: tick(SerializedMessage(Image, data)), RELIABLE, raw=True)
    subscription = ImageSubscription(
        topics.listener, (SubscribedTopic(Image, 'past', tick, RELIABLE),), print)
    topics.spin()
    try:
        assert until(lambda: past.get_subscription_count() == 1
                     and through.get_subscription_count() == 1)
        assert ratio(lambda: per_message_s(past), lambda: per_message_s(through)) < 0.5
    finally:
        subscription.close()


def test_an_image_is_written_and_sent_as_bytes_as_fast_as_a_message_of_an_array(
        topics: Topics) -> None:
    """An array of bytes is the fastest that rclpy takes for the pixels of a message."""
    from depth_anything_ros.ros.messages import color_message
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header
    pixels, header = np.zeros((*CAMERA_HW, 3), np.uint8), Header(frame_id='camera')
    publisher = topics.camera.create_publisher(Image, 'image', QoSProfile(depth=1))

    def typed() -> None:
        data = array('B')
        data.frombytes(pixels.data.cast('B'))
        message = Image(header=header, height=480, width=640, encoding='bgr8', step=3 * 640)
        message.data = data
        publisher.publish(message)

    assert ratio(lambda: cpu_s(lambda: publisher.publish(bytes(color_message(header, pixels)))),
                 lambda: cpu_s(typed)) < 1.1


def test_resizing_depth_takes_no_more_than_some_of_opencvs_resizings_to_other_corners() -> None:
    depth = np.random.default_rng(0).random((518, 686), np.float32)

    def opencv() -> object:
        return cv2.resize(depth, (CAMERA_HW[1], CAMERA_HW[0]), interpolation=cv2.INTER_LINEAR)

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        assert ratio(lambda: cpu_s(lambda: resize_depth(depth, CAMERA_HW)),
                     lambda: cpu_s(opencv)) < 15
    finally:
        cv2.setNumThreads(threads)
