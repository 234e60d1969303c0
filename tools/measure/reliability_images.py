"""
What happens to images on their way to the node.

One process publishes 640x480 images at 30 Hz with sensor data QoS, another one subscribes like the
node: with the defaults of the middleware, and with config/fastdds.xml.
"""

from collections.abc import Callable
import os
import subprocess
import sys
import time

from depth_anything_ros.process import DDS_PROFILE_VARIABLES
from tools.measure.figures import ROOT

PROFILE = ROOT / 'config' / 'fastdds.xml'
TOPIC, SIZE_HW, RATE_HZ = 'measured_image', (480, 640), 30
# The subscriber publishes on this topic once it knows the publisher of the images.
READY = 'measured_image_expected'
# A loaded machine starts a process slowly.
WAIT_S = 120.0


def images_arrived(images: int) -> dict[str, float]:
    """Return the share of the published images that arrive, without and with the profile."""
    return {'images_arrived_default': arrived(images, ''),
            'images_arrived_profile': arrived(images, str(PROFILE))}


def arrived(images: int, profile: str, size_hw: tuple[int, int] = SIZE_HW) -> float:
    """Return the share of the published images that arrive with a profile of Fast DDS."""
    subscriber = _start('subscribe', profile, images)
    publisher = _start('publish', profile, images, *size_hw)
    try:
        publisher.communicate(timeout=2 * WAIT_S + images / RATE_HZ)
        return int(subscriber.communicate(timeout=2 * WAIT_S)[0]) / images
    finally:
        for process in (publisher, subscriber):
            process.kill()


def publish(images: int, height: int, width: int) -> int:
    """Publish so many images at the rate as soon as both processes know each other."""
    import rclpy
    from rclpy.node import Node
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image
    rclpy.init()
    node = Node('measured_camera')
    publisher = node.create_publisher(Image, TOPIC, qos_profile_sensor_data)
    message = Image(height=height, width=width, encoding='bgr8', step=3 * width,
                    data=bytes(3 * height * width))
    _wait_for(lambda: publisher.get_subscription_count() > 0 and node.count_publishers(READY) > 0)
    time.sleep(1.0)
    next_s = time.monotonic()
    for number in range(images):
        message.header.stamp.sec = number
        publisher.publish(message)
        next_s += 1 / RATE_HZ
        time.sleep(max(0.0, next_s - time.monotonic()))
    _wait_for(lambda: publisher.get_subscription_count() == 0)
    return images


def subscribe(images: int) -> int:
    """Return how many images arrive until none does for two seconds."""
    from depth_anything_ros.ros import qos
    from depth_anything_ros.ros.image_subscription import ImageSubscription, SubscribedTopic
    from depth_anything_ros.ros.messages import SerializedMessage
    import rclpy
    from rclpy.node import Node
    from sensor_msgs.msg import Image
    rclpy.init()
    node = Node('measured_node')
    stamps: set[int] = set()
    latest = [time.monotonic() + WAIT_S]

    def receive(serialized: SerializedMessage) -> None:
        stamps.add(serialized.stamp_ns)
        latest[0] = time.monotonic()

    subscription = ImageSubscription(
        node, (SubscribedTopic(Image, TOPIC, receive, qos.image_input()),), lambda sentence: None)
    _wait_for(lambda: node.count_publishers(TOPIC) > 0)
    node.create_publisher(Image, READY, 1)
    latest[0] = time.monotonic() + WAIT_S
    while len(stamps) < images and time.monotonic() - latest[0] < 2:
        time.sleep(0.1)
    subscription.close()
    return len(stamps)


ROLES: dict[str, Callable[..., int]] = {'publish': publish, 'subscribe': subscribe}


def _start(role: str, profile: str, *numbers: int) -> 'subprocess.Popen[str]':
    environment = {name: value for name, value in os.environ.items()
                   if name not in DDS_PROFILE_VARIABLES}
    if profile:
        environment.update(dict.fromkeys(DDS_PROFILE_VARIABLES, profile))
    return subprocess.Popen(
        [sys.executable, '-m', 'tools.measure.reliability_images', role,
         *map(str, numbers)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == '__main__':
    print(ROLES[sys.argv[1]](*map(int, sys.argv[2:])))
