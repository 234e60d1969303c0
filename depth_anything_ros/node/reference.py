"""A reference sensor of one camera: its messages, its pose, and the samples for an alignment."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
import threading
from typing import Any

from depth_anything_ros.alignment.fit import AlignmentFrame, Fit, fit_alignment, Samples
from depth_anything_ros.alignment.references import (
    check_view, measured_depth, MOST_POINTS, samples_from_measured, samples_from_points,
    samples_from_range)
from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.errors import AlignmentError, DepthAnythingError
from depth_anything_ros.node.poses import FixedPose, PoseSource, TfPoses
from depth_anything_ros.parameters import AlignmentSettings
from depth_anything_ros.ros import qos
from depth_anything_ros.ros.callbacks import log_exceptions
from depth_anything_ros.ros.messages import stamp_s
from depth_anything_ros.ros.topic_problems import type_problem
from depth_anything_ros.stamps import CLOCK_RESTART_S
from depth_anything_ros.vision.depth import DepthRange, limit_range
from depth_anything_ros.vision.point_cloud import points_xyz
from depth_anything_ros.vision.raw_image import read_depth_message
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image, PointCloud2, Range
from std_msgs.msg import Header

MESSAGE_TYPES: dict[str, type] = {'depth': Image, 'points': PointCloud2, 'range': Range}
# Messages that are kept until their image has been computed, which takes seconds on a slow
# computer: 25 MB at most.
_KEPT = {'depth': 500, 'points': 100, 'range': 2000}
# Whole depth images are kept as long as they take no more than this, but not fewer than so many.
_IMAGE_BYTES, _FEWEST_IMAGES = 128 * 2 ** 20, 20


@dataclass(frozen=True, eq=False)
class _Measurement:
    """
    What is kept of a message, instead of the message, which can have megabytes.

    ``data`` is a MeasuredDepth, points [N, 3] in the frame of the sensor, or a Range; None if the
    message cannot be used, for the reason ``problem``. ``image`` is the whole message of a depth
    image while it is needed, else None; ``dropped`` is true if there was no room for it.
    """

    header: Header
    stamp_s: float
    data: Any
    problem: str = ''
    image: Image | None = None
    dropped: bool = False


class Reference:
    """
    The subscription to one reference sensor and what its latest messages measured.

    ``source`` is depth, points or range. ``fit`` and ``measured_depth`` must be called from one
    thread; messages arrive on the thread of the executor. Whole depth images are kept while
    ``keeps_images`` returns true.
    """

    def __init__(self, node: Node, source: str, topic: str,
                 read_settings: Callable[[], AlignmentSettings],
                 warn: Callable[[str], None],
                 keeps_images: Callable[[], bool]) -> None:
        self._node = node
        self.source = source
        self._keeps_images = keeps_images
        self._read_settings = read_settings
        self._closed = False
        self._messages: deque[_Measurement] = deque(maxlen=_KEPT[source])
        self._lock = threading.Lock()
        self._poses: PoseSource | None = None
        if source != 'depth':
            self._poses = (FixedPose(lambda: read_settings().reference_pose)
                           if read_settings().reference_frame == 'fixed' else _tf_poses(node))
        self._topic = node.resolve_topic_name(topic)
        self._message_type = MESSAGE_TYPES[source]
        self._subscription: Any = None
        try:
            with qos.naming_overrides(self._topic, 'subscription'):
                self._subscription = node.create_subscription(
                    self._message_type, topic, log_exceptions(self._on_message, warn, node),
                    qos.reference_input(), qos_overriding_options=qos.overridable(),
                    event_callbacks=qos.subscription_events(self._topic, warn))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unsubscribe and forget all measurements; idempotent."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        with self._lock:
            self._closed = True
            self._messages.clear()
        if self._poses is not None:
            self._poses.close()

    def fit(self, frame: AlignmentFrame, with_shift: bool) -> Fit:
        """
        Return the fit of a frame to the message nearest in time.

        AlignmentError if no message is near enough, if it cannot be read, or if its points do not
        fit.
        """
        return fit_alignment(self._samples(self._nearest(frame.stamp_s), frame), with_shift)

    def measured_depth(self, image_s: float) -> F32 | None:
        """
        Return the depth image [h, w] in metres for the image at ``image_s``, NaN where invalid.

        None if it arrived while images were not kept. AlignmentError if no message is near enough
        in time, or if it cannot be read. Only for the source depth.
        """
        measurement = self._nearest(image_s)
        if measurement.problem:
            raise AlignmentError(measurement.problem)
        if measurement.dropped:
            raise AlignmentError('there is no room for the depth images that came while this '
                                 'image was computed; lower input_size or their size')
        if measurement.image is None:
            return None
        limits = self._range()
        return limit_range(read_depth_message(measurement.image), limits.minimum_m,
                           limits.maximum_m)

    def _on_message(self, message: Any) -> None:
        header, at_s = message.header, stamp_s(message.header)
        try:
            measurement = _Measurement(
                header, at_s, self._measure(message),
                image=message if self.source == 'depth' and self._keeps_images() else None)
        except DepthAnythingError as error:
            # Not the error itself, whose traceback would keep the message.
            measurement = _Measurement(header, at_s, None, str(error))
        with self._lock:
            if self._closed:
                return
            newest_s = self._messages[-1].stamp_s if self._messages else 0.0
            restarted = at_s < newest_s - CLOCK_RESTART_S
            if restarted:
                self._messages.clear()
            self._messages.append(measurement)
            if measurement.image is not None:
                self._drop_image(len(measurement.image.data))
        if restarted and self._poses is not None:
            self._poses.clear()

    def _drop_image(self, size: int) -> None:
        """Drop the oldest whole image if all others, of ``size`` bytes, take the room."""
        oldest = len(self._messages) - 1 - max(_FEWEST_IMAGES, _IMAGE_BYTES // size)
        if oldest >= 0 and self._messages[oldest].image is not None:
            self._messages[oldest] = replace(self._messages[oldest], image=None, dropped=True)

    def _measure(self, message: Any) -> Any:
        if self.source == 'depth':
            return measured_depth(read_depth_message(message), self._range())
        if self.source == 'points':
            return points_xyz(message, MOST_POINTS).astype(np.float32)
        return message

    def _samples(self, measurement: _Measurement, frame: AlignmentFrame) -> Samples:
        if measurement.problem:
            raise AlignmentError(measurement.problem)
        if self.source == 'depth':
            if frame.image_hw is not None:
                check_view(measurement.data.size_hw, frame.image_hw)
            return samples_from_measured(frame.inverse_depth, measurement.data)
        if self.source == 'points':
            pose = self._pose(measurement.header, frame)
            points = measurement.data @ pose[:3, :3].T + pose[:3, 3]
            return samples_from_points(frame.inverse_depth, points, frame.require_camera(),
                                       self._range())
        return self._from_range(measurement.data, frame)

    def _nearest(self, image_s: float) -> _Measurement:
        limit_s = self._read_settings().max_time_difference
        with self._lock:
            messages = list(self._messages)
        if not messages:
            wrong = type_problem(self._node, self._topic, self._message_type)
            raise AlignmentError(
                f'no message on {self._topic}: ' + (
                    f'{wrong}; remap it or change alignment.source' if wrong else
                    'check the sensor and its QoS'))
        # The newest of those that are equally near: some drivers never stamp their messages.
        nearest = min(reversed(messages),
                      key=lambda message: abs(message.stamp_s - image_s))
        difference_s = nearest.stamp_s - image_s
        if abs(difference_s) > limit_s:
            raise AlignmentError(
                f'the nearest message on {self._topic} is {difference_s:+.3f} s from the image; '
                'check the clocks or raise alignment.max_time_difference, which is '
                f'{limit_s:g} s')
        return nearest

    def _range(self) -> DepthRange:
        settings = self._read_settings()
        return DepthRange(max(settings.reference_min, 1e-6), settings.reference_max)

    def _from_range(self, message: Range, frame: AlignmentFrame) -> Samples:
        distance_m, valid = float(message.range), self._range()
        minimum_m = max(valid.minimum_m, message.min_range)
        maximum_m = min(valid.maximum_m, message.max_range)
        if not minimum_m <= distance_m <= maximum_m:
            raise AlignmentError(f'the range sensor measures {distance_m:g} m, which is not '
                                 f'within {minimum_m:g} and {maximum_m:g} m, the limits of the '
                                 'sensor and of alignment.reference_min and '
                                 'alignment.reference_max')
        if not 0 <= message.field_of_view < np.pi:
            raise AlignmentError(f'the field of view of the range sensor is '
                                 f'{message.field_of_view:g} rad, which is no cone; its driver '
                                 'may state degrees')
        pose = self._pose(message.header, frame)
        # REP 117 and sensor_msgs/Range: the sensor looks along x of its frame.
        centre = pose[:3, :3] @ np.array([distance_m, 0.0, 0.0]) + pose[:3, 3]
        radius_m = distance_m * float(np.tan(message.field_of_view / 2))
        return samples_from_range(frame.inverse_depth, centre, radius_m, frame.require_camera())

    def _pose(self, header: Header, frame: AlignmentFrame) -> F64:
        assert self._poses is not None
        return self._poses.pose(frame.frame_id, header.frame_id, header.stamp)


def _tf_poses(node: Node) -> TfPoses:
    return TfPoses(node, 'alignment.reference_frame tf',
                   'set alignment.reference_frame to fixed and alignment.reference_pose')
