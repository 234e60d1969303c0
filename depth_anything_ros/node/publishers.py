"""The published topics of one camera; an output is computed only while it has a subscriber."""

from collections.abc import Callable, Iterable
from functools import partial

from depth_anything_ros.alignment.tracker import Alignment
from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.model_info import Kind
from depth_anything_ros.node.aligner import alignment_values
from depth_anything_ros.node.camera_info import CameraView, SerializedInfos
from depth_anything_ros.node.diagnostics import key_values
from depth_anything_ros.node.frame_outputs import FrameOutputs
from depth_anything_ros.node.rate_limit import RateLimit
from depth_anything_ros.parameters import Settings
from depth_anything_ros.ros import qos
from depth_anything_ros.ros.callbacks import one_line
from depth_anything_ros.ros.messages import (
    ArrayMessage, cloud_message, color_message, depth_message, mask_message, stamp_s)
from depth_anything_ros.ros.serialized_publisher import SerializedPublisher
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

_TOPICS: dict[str, type] = {
    'inverse_depth/image': Image, 'inverse_depth/camera_info': CameraInfo,
    'depth/image': Image, 'depth/camera_info': CameraInfo,
    'depth_filled/image': Image, 'depth_filled/camera_info': CameraInfo,
    'depth_filled/mask': Image, 'confidence/image': Image,
    'points': PointCloud2, 'color/image': Image, 'alignment': DiagnosticArray}
_CAMERA_INFOS = tuple(topic for topic, message in _TOPICS.items() if message is CameraInfo)
_FILLED = ('depth_filled/image', 'depth_filled/camera_info', 'depth_filled/mask')


class OutputPublishers:
    """
    The lifecycle publishers of one camera.

    ``publish*`` must be called from one thread, ``publish`` first for each frame: it counts the
    subscribers. ``has_*`` may be called from any thread.
    ``warn`` gets a sentence for each incompatible subscriber and each output that is impossible.
    """

    def __init__(self, node: LifecycleNode, prefix: str, kind: Kind,
                 warn: Callable[[str], None]) -> None:
        self._node = node
        self._warn = warn
        self._publishers: dict[str, LifecyclePublisher] = {}
        self._of_arrays: dict[str, SerializedPublisher] = {}
        self._infos = SerializedInfos()
        self._subscribed: frozenset[str] = frozenset()
        self._limits = {topic: RateLimit() for topic in ('color/image', 'points')}
        try:
            for topic, message in _TOPICS.items():
                if kind == 'relative' or 'inverse' not in topic:
                    name = f'~/{prefix}{topic}'
                    resolved = node.resolve_topic_name(name)
                    with qos.naming_overrides(resolved, 'publisher'):
                        self._publishers[topic] = node.create_lifecycle_publisher(
                            message, name, qos.output(), qos_overriding_options=qos.overridable(),
                            event_callbacks=qos.publisher_events(resolved, warn))
                    if message in (Image, PointCloud2):
                        self._of_arrays[topic] = SerializedPublisher(self._publishers[topic])
        except BaseException:
            self.close()
            raise

    def has_subscribers(self) -> bool:
        """Return whether any topic has a subscriber now."""
        # Those that had one are likely to have one still.
        return self._has_now(self._subscribed) or bool(self._count_subscribers())

    def has_filled_subscribers(self) -> bool:
        """Return whether a topic of the filled depth has a subscriber now."""
        return self._has_now(_FILLED)

    def publishes_confidence(self) -> bool:
        """Return whether the confidence had a subscriber in the latest ``publish``."""
        return self._is_subscribed('confidence/image')

    def publishes_metres(self) -> bool:
        """Return whether depth or its confidence had a subscriber in the latest ``publish``."""
        return self._is_subscribed('depth/image', 'depth/camera_info', 'confidence/image')

    def close(self) -> None:
        """Destroy the publishers; idempotent."""
        self._of_arrays.clear()
        while self._publishers:
            self._node.destroy_lifecycle_publisher(self._publishers.popitem()[1])

    def publish(self, header: Header, outputs: FrameOutputs, view: CameraView,
                settings: Settings) -> None:
        """Publish the outputs that have subscribers; ``view`` is the camera of the image."""
        self._count_subscribers()
        make_info = self._info_maker(header, outputs, view)
        if make_info is None and self._is_subscribed(*_CAMERA_INFOS):
            self._warn(f'no camera_info beside the depth: {view.problem}')
        if self._is_subscribed('inverse_depth/image', 'inverse_depth/camera_info'):
            self._publish_map('inverse_depth', header, outputs.model_depth, make_info)
        if self._is_subscribed('depth/image', 'depth/camera_info') and outputs.depth_m is not None:
            self._publish_map('depth', header, outputs.depth_m, make_info,
                              settings.depth_encoding)
        if self._is_subscribed('confidence/image') and outputs.confidence is not None:
            self._publish_map('confidence', header, outputs.confidence, None)
        if self._is_due('color/image', header, settings.color_rate):
            self._publish('color/image', color_message(header, outputs.color))
        if self._is_due('points', header, settings.points_rate):
            self._publish_points(header, outputs, view)

    def publish_filled(self, header: Header, outputs: FrameOutputs, view: CameraView,
                       depth_encoding: str, measure: Callable[[], F32 | None]) -> None:
        """
        Publish the depth image of a sensor with its holes filled, if it has subscribers.

        ``measure`` returns the depth image [h, w] in metres, None without one, or raises
        AlignmentError.
        """
        if not self._is_subscribed(*_FILLED):
            return
        try:
            filled = outputs.filled(measure())
        except AlignmentError as error:
            self._warn(f'no filled depth: {error}')
            return
        if filled is None:
            return
        self._publish_map('depth_filled', header, filled.depth_m,
                          self._info_maker(header, outputs, view), depth_encoding)
        if self._is_subscribed('depth_filled/mask'):
            self._publish('depth_filled/mask', mask_message(header, filled.mask))

    def publish_alignment(self, header: Header, alignment: Alignment | None, name: str) -> None:
        """Publish the state of the alignment on ``~/alignment``, unless it is None."""
        if alignment is None or not self._is_subscribed('alignment'):
            return
        level = DiagnosticStatus.OK if alignment.usable else DiagnosticStatus.WARN
        status = DiagnosticStatus(
            level=level, name=name, message=one_line(alignment.reason or alignment.state),
            values=key_values(alignment_values(alignment)))
        self._publishers['alignment'].publish(DiagnosticArray(header=header, status=[status]))

    def _has_now(self, topics: Iterable[str]) -> bool:
        return any(publisher.get_subscription_count() for topic in topics
                   if (publisher := self._publishers.get(topic)) is not None)

    def _count_subscribers(self) -> frozenset[str]:
        # Once per frame: each count costs as much as many a computation on the map.
        self._subscribed = frozenset(topic for topic, publisher in list(self._publishers.items())
                                     if publisher.get_subscription_count())
        return self._subscribed

    def _is_subscribed(self, *topics: str) -> bool:
        return not self._subscribed.isdisjoint(topics)

    def _is_due(self, topic: str, header: Header, rate_hz: float) -> bool:
        return self._is_subscribed(topic) and self._limits[topic].passes(stamp_s(header), rate_hz)

    def _publish(self, topic: str, message: ArrayMessage) -> None:
        self._of_arrays[topic].publish(message)

    def _publish_map(self, name: str, header: Header, values: F32,
                     make_info: Callable[[], bytes] | None, encoding: str = '32FC1') -> None:
        if make_info is not None and self._is_subscribed(f'{name}/camera_info'):
            self._publishers[f'{name}/camera_info'].publish(make_info())
        if self._is_subscribed(f'{name}/image'):
            self._publish(f'{name}/image', depth_message(header, values, encoding))

    def _publish_points(self, header: Header, outputs: FrameOutputs, view: CameraView) -> None:
        if view.camera is None:
            self._warn(f'no point cloud: {view.problem}')
            return
        cloud = outputs.cloud(view.camera)
        if cloud is not None:
            self._publish('points', cloud_message(header, cloud))

    def _info_maker(self, header: Header, outputs: FrameOutputs,
                    view: CameraView) -> Callable[[], bytes] | None:
        """Return a function that makes the camera_info of the outputs, None without one."""
        if view.info is None:
            return None
        return partial(self._infos.get, header, view.info, outputs.image.size_hw, outputs.grid)
