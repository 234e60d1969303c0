"""The published topics: each is computed only while somebody subscribes to it."""

from collections.abc import Callable

from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.model_info import Kind
from depth_anything_ros.ros import qos
from depth_anything_ros.ros.camera import check_size, info_message, intrinsics
from depth_anything_ros.ros.encode import cloud_message, color_message, depth_message
from depth_anything_ros.settings import Settings
from depth_anything_ros.vision.colorize import color_table, colorize, RangeTracker
from depth_anything_ros.vision.depth import (
    disparity_for_looking, inverse_from_metric, limit_range, metric_from_inverse)
from depth_anything_ros.vision.encodings import ColorImage, to_bgr
from depth_anything_ros.vision.geometry import (
    Intrinsics, organised_cloud, pixel_rays, Rays)
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

F32 = npt.NDArray[np.float32]

_TOPICS: dict[str, type] = {
    '~/inverse_depth/image': Image, '~/inverse_depth/camera_info': CameraInfo,
    '~/depth/image': Image, '~/depth/camera_info': CameraInfo,
    '~/points': PointCloud2, '~/color/image': Image}


class Outputs:
    """
    The lifecycle publishers of one node and what goes out through them.

    ``publish`` belongs to one thread; ``anyone_listens`` may be called from any. ``warn`` gets the
    sentences about a camera_info that cannot be used.
    """

    def __init__(self, node: LifecycleNode, kind: Kind, warn: Callable[[str], None]) -> None:
        self._node = node
        self._kind = kind
        self._warn = warn
        self._range = RangeTracker()
        self._table = ('', color_table('gray'))
        self._rays: tuple[tuple[Intrinsics, int], Rays] | None = None
        self._publishers: dict[str, LifecyclePublisher] = {}
        try:
            for topic, message in _TOPICS.items():
                if kind == 'relative' or 'inverse' not in topic:
                    self._publishers[topic] = node.create_lifecycle_publisher(
                        message, topic, qos.output(), qos_overriding_options=qos.overridable())
        except BaseException:
            self.close()
            raise

    def anyone_listens(self) -> bool:
        """Return whether any topic has a subscriber."""
        return any(publisher.get_subscription_count() for publisher in self._publishers.values())

    def restart(self) -> None:
        """Forget the tracked range of the colours."""
        self._range.reset()

    def close(self) -> None:
        """Destroy the publishers; idempotent."""
        while self._publishers:
            self._node.destroy_lifecycle_publisher(self._publishers.popitem()[1])

    def publish(self, header: Header, image: ColorImage, depth: F32, info: CameraInfo | None,
                settings: Settings) -> None:
        """
        Publish everything that is listened to under ``header``.

        ``depth`` [H, W] is the model's output, which is brought to the image's size here;
        ``info`` the camera's latest camera_info or None.
        """
        depth = resize_depth(depth, image.size_hw)
        if info is not None:
            try:
                check_size(info, image.size_hw)
            except CameraInfoError as error:
                self._warn(str(error))
                info = None
        if self._kind == 'relative':
            self._publish_map('~/inverse_depth', header, depth, info)
        depth_m = self._metric(depth, settings)
        if depth_m is not None and self._listens('~/depth/image', '~/depth/camera_info'):
            limited = limit_range(depth_m, settings.depth_min, settings.depth_max)
            self._publish_map('~/depth', header, limited, info)
        if not self._listens('~/points', '~/color/image'):
            return
        nearness = depth if self._kind == 'relative' else inverse_from_metric(depth)
        tracked = self._range.update(nearness)
        if self._listens('~/color/image'):
            self._publish_color(header, nearness, tracked, settings.color_map)
        if self._listens('~/points'):
            if depth_m is None:
                depth_m = metric_from_inverse(depth, *disparity_for_looking(
                    *tracked, settings.points_near, settings.points_far))
            self._publish_points(header, image, depth_m, info, settings)

    def _listens(self, *topics: str) -> bool:
        return any(topic in self._publishers and self._publishers[topic].get_subscription_count()
                   for topic in topics)

    def _metric(self, depth: F32, settings: Settings) -> F32 | None:
        """Return depth in metres, or None for a relative model without a scale."""
        if self._kind == 'metric':
            return depth
        if settings.relative_scale == 0 or not self._listens(
                '~/depth/image', '~/depth/camera_info', '~/points'):
            return None
        return metric_from_inverse(depth, settings.relative_scale, settings.relative_shift)

    def _publish_map(self, name: str, header: Header, values: F32,
                     info: CameraInfo | None) -> None:
        if info is not None and self._listens(f'{name}/camera_info'):
            self._publishers[f'{name}/camera_info'].publish(info_message(header, info))
        if self._listens(f'{name}/image'):
            self._publishers[f'{name}/image'].publish(depth_message(header, values))

    def _publish_points(self, header: Header, image: ColorImage, depth_m: F32,
                        info: CameraInfo | None, settings: Settings) -> None:
        if info is None:
            self._warn('no point cloud: no camera_info of the size of the image has arrived; '
                       'check the topic camera_info')
            return
        try:
            rays = self._rays_for(intrinsics(info, image.size_hw), settings.points_stride)
        except CameraInfoError as error:
            self._warn(f'no point cloud: {error}')
            return
        limited = limit_range(depth_m, settings.points_min, settings.points_max)
        cloud = organised_cloud(limited, to_bgr(image), rays)
        self._publishers['~/points'].publish(cloud_message(header, cloud))

    def _publish_color(self, header: Header, nearness: F32, tracked: tuple[float, float],
                       color_map: str) -> None:
        if self._table[0] != color_map:
            self._table = (color_map, color_table(color_map))
        self._publishers['~/color/image'].publish(
            color_message(header, colorize(nearness, *tracked, self._table[1])))

    def _rays_for(self, camera: Intrinsics, stride: int) -> Rays:
        if self._rays is None or self._rays[0] != (camera, stride):
            self._rays = ((camera, stride), pixel_rays(camera, stride))
        return self._rays[1]
