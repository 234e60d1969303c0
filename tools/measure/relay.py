"""
A node that receives images and publishes messages of the size of depth, colours and cloud.

It uses the public parts of rclpy alone and computes nothing but the network, in a loop beside it,
so its host work is what receiving and publishing cost in Python. ``box_floor`` measures it.
"""

from collections.abc import Mapping
from pathlib import Path
import sys
import tempfile
import threading
from typing import Any

from depth_anything_ros.benchmark.node_under_test import OUTPUTS, under_test
import numpy as np

_SIZE_HW = (480, 640)
# With the default points_stride.
_CLOUD_HW = (240, 320)
_SECONDS, _ROUNDS = 5.0, 3


def box_floor(model: Path, rate_hz: float, threads: int) -> Mapping[str, float]:
    """
    Return the CPU time [ms] of a relayed image, with depth subscribed and with all outputs.

    ``threads`` is the number of threads of an inference, which are not counted.
    """
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, \
            under_test(model, Path(folder), threads, _SIZE_HW, None, {},
                       'tools.measure.relay') as node:
        for name, outputs in (('floor_ms_per_frame', 'depth'), ('floor_ms_per_frame_all', 'all')):
            phases = [node.phase(OUTPUTS[outputs], rate_hz, _SECONDS) for _ in range(_ROUNDS)]
            found[name] = float(np.median([phase.host_s / phase.frames * 1000
                                           for phase in phases]))
    return found


def main() -> None:
    """Relay until SIGINT."""
    from depth_anything_ros.benchmark.bare_model import BareModel
    from depth_anything_ros.ros.spin import run

    def make() -> Any:
        node = _relay()
        bare = BareModel(Path(node.declare_parameter('model', '').value))
        threading.Thread(target=lambda: bare.rate(float('inf')), daemon=True).start()
        return node

    run(make, sys.argv)


def _relay() -> Any:
    from depth_anything_ros.ros.messages import cloud_message, color_message, depth_message
    from depth_anything_ros.ros.observer import RELIABLE
    from rclpy.lifecycle import LifecycleNode
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2
    from std_msgs.msg import Header
    node = LifecycleNode('depth_anything')
    header = Header(frame_id='camera')
    prepared = {
        'inverse_depth/image': depth_message(header, np.zeros(_SIZE_HW, np.float32)),
        'color/image': color_message(header, np.zeros((*_SIZE_HW, 3), np.uint8)),
        'points': cloud_message(header, np.zeros((*_CLOUD_HW, 4), np.float32))}
    messages = {topic: bytes(message) for topic, message in prepared.items()}
    publishers = {topic: node.create_publisher(PointCloud2 if topic == 'points' else Image,
                                               f'~/{topic}', RELIABLE) for topic in messages}
    infos = node.create_publisher(CameraInfo, '~/inverse_depth/camera_info', RELIABLE)

    def relay(image: bytes) -> None:
        for topic, message in messages.items():
            if publishers[topic].get_subscription_count():
                # The stamp of the image, which the observer measures the age with.
                publishers[topic].publish(message[:4] + image[4:12] + message[12:])

    node.create_subscription(CameraInfo, 'camera_info', infos.publish, RELIABLE)
    node.create_subscription(Image, 'image', relay, RELIABLE, raw=True)
    return node


if __name__ == '__main__':
    main()
