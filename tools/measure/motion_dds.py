"""Metres from motion over DDS: images and odometry to a node process, its depth against truth."""

from collections.abc import Sequence
from pathlib import Path
import statistics
import tempfile
import time
from typing import Any

import cv2
from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.resources import shipped_model
from depth_anything_ros.vision.accuracy import align_relative, score_depth
import numpy as np
from tools.active_node import active_node, NODE
from tools.measure.motion_clips import Clip, LIMITS, STRIDE, WRONG_SCALE

_FRAME = 'camera_optical_frame'
# Slower than both cameras were, so that the CPU computes most images.
_RATE_HZ = 8.0
_FIRST_STAMP_NS = 10 ** 12
_DISCOVERY_S, _LAST_S = 10.0, 2.0


def dds_figures(clips: Sequence[Clip], poses: Sequence[F64]) -> dict[str, float]:
    """
    Return how far the published depth is from the truth, with ``poses`` [N, 4, 4] as odometry.

    ``motion_dds_excess_absrel`` is its AbsRel ÷ that of the published inverse depth after a dense
    fit to the truth, less 1, on average over the clips; ``motion_dds_published`` the share of
    inverse depth images that came with metres, and ``motion_dds_wrong_scale_frames`` the share of
    these whose median z is off by more than 10 %. ObserverError if the node does not start.
    """
    excess, wrong, published, seen = [], [], 0, 0
    for clip, odometry in zip(clips, poses):
        with tempfile.TemporaryDirectory() as folder, \
                active_node(Path(folder), _parameters()) as observer:
            robot = _Robot(observer, clip)
            robot.drive(odometry)
        errors, dense = [], []
        for number, inverse_depth in robot.inverse_depths.items():
            truth_m = np.ascontiguousarray(clip.depths_m[number][::STRIDE, ::STRIDE])
            seen += 1
            if number in robot.depths:
                published += 1
                found_m = np.clip(robot.depths[number], 0, LIMITS.maximum_m)
                errors.append(score_depth(found_m, truth_m, LIMITS).abs_rel)
                dense.append(score_depth(align_relative(inverse_depth, truth_m, LIMITS), truth_m,
                                         LIMITS).abs_rel)
                wrong.append(abs(float(np.nanmedian(found_m / truth_m)) - 1) > WRONG_SCALE)
        excess.append(statistics.mean(errors) / statistics.mean(dense) - 1)
    return {'motion_dds_excess_absrel': statistics.mean(excess),
            'motion_dds_wrong_scale_frames': statistics.mean(wrong),
            'motion_dds_published': published / seen}


def _parameters() -> dict[str, object]:
    return {'model': shipped_model(), 'alignment.source': 'motion',
            'motion.odometry_topic': '/odom',
            **{f'qos_overrides.{topic}.subscription.reliability': 'reliable'
               for topic in ('/image', '/camera_info', '/odom')}}


class _Robot:
    """Publishes a clip; ``depths`` [m] and ``inverse_depths`` are every fourth pixel by image."""

    def __init__(self, observer: Any, clip: Clip) -> None:
        from nav_msgs.msg import Odometry
        from sensor_msgs.msg import CameraInfo, Image
        self.depths: dict[int, F32] = {}
        self.inverse_depths: dict[int, F32] = {}
        self._observer, self._clip = observer, clip
        self._images, self._infos, self._odometry = (
            observer.node.create_publisher(kind, topic, 5) for kind, topic in (
                (Image, '/image'), (CameraInfo, '/camera_info'), (Odometry, '/odom')))
        for name, kept in (('depth', self.depths), ('inverse_depth', self.inverse_depths)):
            observer.listen(Image, f'/{NODE}/{name}/image',
                            lambda message, kept=kept: self._keep(message, kept))

    def drive(self, odometry: F64) -> None:
        """Publish all images with their odometry, then wait for the last depth."""
        self._observer.spin_until(
            lambda: self._images.get_subscription_count() > 0
            and self._odometry.get_subscription_count() > 0, _DISCOVERY_S)
        next_s = time.monotonic()
        for number, pose in enumerate(odometry):
            self._publish(number, pose)
            next_s += 1 / _RATE_HZ
            self._observer.spin_until(lambda: False, next_s - time.monotonic())
        self._observer.spin_until(lambda: False, _LAST_S)

    def _publish(self, number: int, pose: F64) -> None:
        from depth_anything_ros.ros.messages import color_message, pinhole_info
        from nav_msgs.msg import Odometry
        from std_msgs.msg import Header
        header = Header(frame_id=_FRAME)
        header.stamp.sec, header.stamp.nanosec = divmod(self._stamp_ns(number), 10 ** 9)
        message = Odometry(child_frame_id=_FRAME)
        message.header.stamp, message.header.frame_id = header.stamp, 'odom'
        place, turn = message.pose.pose.position, message.pose.pose.orientation
        place.x, place.y, place.z = pose[:3, 3].tolist()
        turn.x, turn.y, turn.z, turn.w = _quaternion(pose)
        self._odometry.publish(message)
        self._infos.publish(pinhole_info(header, self._clip.camera))
        self._images.publish(bytes(color_message(header, self._clip.images[number])))

    def _stamp_ns(self, number: int) -> int:
        return _FIRST_STAMP_NS + round(1e9 * float(self._clip.stamps_s[number]))

    def _keep(self, message: Any, kept: dict[int, F32]) -> None:
        from depth_anything_ros.ros.observer import pixels, stamp_ns
        passed_s = (stamp_ns(message) - _FIRST_STAMP_NS) / 1e9
        number = int(np.abs(self._clip.stamps_s - passed_s).argmin())
        kept[number] = np.ascontiguousarray(pixels(message)[::STRIDE, ::STRIDE])


def _quaternion(pose: F64) -> list[float]:
    """Return x, y, z, w of the rotation of a pose [4, 4]."""
    turn = cv2.Rodrigues(pose[:3, :3])[0].ravel()
    angle = float(np.linalg.norm(turn))
    axis = turn / angle if angle else turn
    return [*(axis * np.sin(angle / 2)).tolist(), float(np.cos(angle / 2))]
