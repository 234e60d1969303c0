"""Programs of other packages make of the node's output what the node and its tests expect."""

from collections.abc import Callable
from functools import partial
from typing import Any

from consumers import (
    back_projected, DEPTH, fields, HW, INFO, laser_scan, metres, own_points, pinhole, scene, Seen,
    wall)
from depth_anything_ros.ros.messages import decode_image
from depth_anything_ros.vision.color_image import to_bgr
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from robot import as_received
from sensor_msgs.msg import LaserScan, PointCloud2
from waiting import until

# Programs that start while others use the CPU.
START_S = 60.0


class Listener:
    """A subscription to the output of a consumer, which may be best effort."""

    def __init__(self, context: Context, kind: type, topic: str) -> None:
        self.node = Node('listener', context=context)
        self._messages: dict[int, Any] = {}
        self.node.create_subscription(kind, topic, self._receive, qos_profile_sensor_data)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)

    def _receive(self, message: Any) -> None:
        stamp = message.header.stamp
        self._messages[stamp.sec, stamp.nanosec] = message

    def wait_for_subscriptions(self, count: int) -> None:
        """Wait until the depth and its camera_info have so many."""
        assert until(lambda: all(self.node.count_subscribers(topic) >= count
                                 for topic in (DEPTH, INFO)), START_S)

    def output_for(self, seen: Callable[[], Seen]) -> tuple[Seen, Any]:
        """Show images until the consumer answers one; return what was seen and the answer."""
        for _ in range(20):
            frame = seen()
            stamp = frame.depth.header.stamp
            key = stamp.sec, stamp.nanosec
            if until(partial(self._has, key), 3.0):
                return frame, self._messages[key]
        raise AssertionError('the consumer published nothing')

    def _has(self, key: tuple[int, int]) -> bool:
        self._executor.spin_once(timeout_sec=0.1)
        return key in self._messages

    def close(self) -> None:
        """Destroy the node."""
        self._executor.shutdown()
        self.node.destroy_node()


def scenery() -> np.ndarray:
    """Return a picture of a slanted wall below the sky."""
    depth_m = wall(2.0, slant=0.4).copy()
    depth_m[:20] = np.inf
    return scene(depth_m)


@pytest.mark.parametrize('encoding', ['32FC1', '16UC1'])
def test_depth_image_proc_makes_the_cloud_of_the_node(
        context: Context, start: Callable[..., None], outputs_of: Callable[..., Seen],
        encoding: str) -> None:
    start('depth_image_proc', 'point_cloud_xyz_node', '-r', f'image_rect:={DEPTH}',
          '-r', f'camera_info:={INFO}', '-r', 'points:=/consumer/points')
    listener = Listener(context, PointCloud2, '/consumer/points')
    try:
        # The fixture listens to both, too.
        listener.wait_for_subscriptions(2)
        seen, cloud = listener.output_for(
            lambda: outputs_of(scenery(), depth_encoding=encoding))
    finally:
        listener.close()
    found = np.stack(fields(cloud, 'x', 'y', 'z'), axis=-1).reshape(*HW, 3)
    assert cloud.header == seen.depth.header
    assert_allclose(found, back_projected(metres(seen.depth), pinhole(seen.info)), 1e-6, 1e-6)
    assert np.isnan(found).any() and np.isfinite(found).any()
    if encoding == '32FC1':
        assert_allclose(found, own_points(seen), 1e-6, 1e-6)


def test_depthimage_to_laserscan_makes_the_scan_of_the_depth(
        context: Context, start: Callable[..., None], outputs_of: Callable[..., Seen]) -> None:
    start('depthimage_to_laserscan', 'depthimage_to_laserscan_node', '-r', f'depth:={DEPTH}',
          '-r', f'depth_camera_info:={INFO}', '-r', 'scan:=/consumer/scan')
    listener = Listener(context, LaserScan, '/consumer/scan')
    try:
        listener.wait_for_subscriptions(2)
        seen, scan = listener.output_for(lambda: outputs_of(scenery()))
    finally:
        listener.close()
    angles, ranges, step = laser_scan(seen)
    assert scan.header.stamp == seen.depth.header.stamp
    assert_allclose([scan.angle_min, scan.angle_increment], [angles[0], step], 1e-6)
    found = np.array(scan.ranges)
    # Rounding may put a depth into the next angle.
    assert np.isfinite(found).sum() >= np.isfinite(ranges).sum() - 2
    both = np.isfinite(found) & np.isfinite(ranges)
    assert both.sum() > len(ranges) / 2
    agreeing = np.isclose(found[both], ranges[both], 1e-6)
    assert agreeing.sum() >= both.sum() - 2


@pytest.mark.parametrize('encoding', ['32FC1', '16UC1'])
def test_cv_bridge_reads_the_outputs(outputs_of: Callable[..., Seen], encoding: str) -> None:
    cv_bridge = pytest.importorskip('cv_bridge', reason='cv_bridge is not installed')
    seen = outputs_of(scenery(), depth_encoding=encoding)
    bridge = cv_bridge.CvBridge()
    kind = {'32FC1': np.float32, '16UC1': np.uint16}[encoding]
    found = bridge.imgmsg_to_cv2(seen.depth, 'passthrough')
    assert found.dtype == kind
    assert_array_equal(found, np.frombuffer(seen.depth.data, kind).reshape(HW))
    assert_array_equal(bridge.imgmsg_to_cv2(seen.color, 'bgr8'),
                       np.frombuffer(seen.color.data, np.uint8).reshape(*HW, 3))


def test_the_node_reads_images_of_cv_bridge(outputs_of: Callable[..., Seen]) -> None:
    cv_bridge = pytest.importorskip('cv_bridge', reason='cv_bridge is not installed')
    picture = scenery()
    message = cv_bridge.CvBridge().cv2_to_imgmsg(picture, 'bgr8')
    assert_array_equal(to_bgr(decode_image(as_received(message))), picture)
