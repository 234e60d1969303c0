"""One camera of the node: its subscriptions, its alignment and its outputs."""

from collections.abc import Callable
from functools import partial

from depth_anything_ros.alignment.tracker import Alignment
from depth_anything_ros.inference.scheduler import Frame, Result
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.node.aligner import Aligner
from depth_anything_ros.node.camera_info import camera_view, CameraView
from depth_anything_ros.node.frame_outputs import (
    ConfidenceInputs, FrameOutputs, metric_correction, OutputState)
from depth_anything_ros.node.motion import TrackedImage
from depth_anything_ros.node.publishers import OutputPublishers
from depth_anything_ros.node.second_look import FirstLook, SecondLooks
from depth_anything_ros.node.snapshots import SnapshotRequests
from depth_anything_ros.parameters import Settings
from depth_anything_ros.ros import qos
from depth_anything_ros.ros.image_subscription import ImageSubscription, SubscribedTopic
from depth_anything_ros.ros.messages import decode_compressed, decode_image, SerializedMessage
from depth_anything_ros.ros.topic_problems import image_topic_problem
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.depth import model_inverse_depth
from depth_anything_ros.vision.encoded_image import PixelLimit
from depth_anything_ros.vision.geometry import focal_scale
from depth_anything_ros.vision.sky import sky_mask
from depth_anything_ros.vision.transforms import output_grid
import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image


class CameraStream:
    """
    The topics of one camera, which are below its ``name`` if it has one.

    Images arrive on the thread of the image subscription and are passed to ``offer``;
    ``on_result`` runs on the thread that delivers results. ``settings`` is replaced as a whole
    when parameters change. ``received`` counts images, ``without_subscriber`` those that arrived
    while no output had a subscriber, ``lost`` those that did not arrive. ``metric_problem`` says
    why there are no metres without an alignment, or is ''.
    """

    def __init__(self, node: LifecycleNode, name: str, info: ModelInfo, settings: Settings,
                 offer: Callable[[Frame], object], warn: Callable[[str], None]) -> None:
        prefix = f'{name}/' if name else ''
        self.name = name
        self.settings = settings
        self.received = self.without_subscriber = self.lost = 0
        self.metric_problem = ''
        self.image_hw: tuple[int, int] | None = None
        self.image_topic = node.resolve_topic_name(f'{prefix}image')
        self._transport = settings.image_transport
        self.snapshots = SnapshotRequests()
        self._node = node
        self._prefix = prefix
        self._info = info
        self._kind = info.kind
        self._offer = offer
        self._warn = warn if not name else lambda sentence: warn(f'{name}: {sentence}')
        self.aligner = Aligner(node, prefix, info, lambda: self.settings, self._warn,
                               lambda: self._publishers.has_filled_subscribers())
        self._camera_info: CameraInfo | None = None
        self._camera_info_data = b''
        self._image_subscription: ImageSubscription | None = None
        self._output_state = OutputState()
        self._second_looks = SecondLooks(name, info.kind, offer)
        self._publishers = OutputPublishers(node, prefix, info.kind, self._warn)

    def start(self) -> None:
        """Subscribe; camera_info and the state of the outputs begin empty."""
        self._camera_info, self._camera_info_data = None, b''
        self._output_state.reset()
        self._second_looks.reset()
        self.metric_problem = ''
        self.aligner.start()
        topic = f'{self._prefix}image'
        message_type, decode = Image, decode_image
        self._transport = self.settings.image_transport
        if self._transport == 'compressed':
            message_type, decode = CompressedImage, self._decode_compressed
            # image_transport appends /compressed to the name after remapping.
            topic = f'{self._node.resolve_topic_name(topic)}/compressed'
        self.image_topic = self._node.resolve_topic_name(topic)
        self._image_subscription = ImageSubscription(self._node, (
            SubscribedTopic(message_type, topic, partial(self._on_image, decode),
                            qos.image_input(), self._on_lost),
            SubscribedTopic(CameraInfo, f'{self._prefix}camera_info', self._on_camera_info,
                            qos.camera_info_input())), self._warn)

    def unsubscribe(self) -> None:
        """Receive no more images; idempotent."""
        if self._image_subscription is not None:
            self._image_subscription.close()
            self._image_subscription = None

    def stop(self) -> None:
        """Unsubscribe, also from the reference, which frames in flight still need; idempotent."""
        self.unsubscribe()
        self.aligner.stop()

    def close(self) -> None:
        """Unsubscribe, destroy the publishers and release the maps; idempotent."""
        self.stop()
        self._publishers.close()
        self._camera_info, self._camera_info_data = None, b''
        self._output_state = OutputState()
        self._second_looks.reset()

    @property
    def has_consumers(self) -> bool:
        """Return whether a subscriber or a snapshot request waits for the next frame."""
        return self._publishers.has_subscribers() or self.snapshots.has_requests

    def topic_problem(self) -> str:
        """Return why no image can arrive, by the types of the publishers, or ''."""
        return image_topic_problem(self._node, self.image_topic, f'{self._prefix}image',
                                   self._transport)

    def on_result(self, result: Result) -> None:
        """Align one depth map and publish the outputs that have subscribers."""
        if isinstance(result.frame.context, FirstLook):
            if problem := self._second_looks.finish(result):
                self._warn(problem)
            return
        if isinstance(result.outcome, Exception) or result.image is None:
            self._warn(f'frame lost: {result.outcome}')
            return
        header = result.frame.context.header
        image, settings, info = result.image, self.settings, self._camera_info
        view = self._view(image.size_hw)
        if info is not None and view.info is None:
            self._warn(view.problem)
        sky = sky_mask(result.outcome, self._info) if settings.sky_filter != 'off' else None
        depth, correction, stabilize = self._output_state.stabilize(
            result.outcome, self._kind, metric_correction(self._kind, settings, view.camera),
            settings.stabilization)
        alignment = None
        if settings.alignment.source != 'none':
            alignment = self.aligner.update(
                header, model_inverse_depth(depth, self._kind, correction), view, image.size_hw)
        map_hw = depth.shape[0], depth.shape[1]
        grid = output_grid(settings.output_size, settings.output_divisor, image.size_hw, map_hw)
        scale_shift, problem = self._scale_shift(alignment, settings, view, map_hw)
        outputs = FrameOutputs(image, depth, self._kind, grid, correction, scale_shift, stabilize,
                               settings, self._output_state, sky, ConfidenceInputs(
                                   alignment.residual if alignment else np.nan,
                                   self._second_looks.disagreement))
        self._warn_of_two_cameras(image.size_hw)
        self.image_hw = image.size_hw
        self._publishers.publish(header, outputs, view, settings)
        if (not problem and alignment is None and outputs.scale_shift is None
                and self._publishers.publishes_metres()):
            problem = ('no metric depth: the model is relative; set alignment.source, or '
                       'relative_scale if it is known')
        if problem:
            self._warn(problem)
        self.metric_problem = problem
        self._publishers.publish_filled(header, outputs, view, settings.depth_encoding,
                                        lambda: self.aligner.measured_depth(header, alignment))
        self._publishers.publish_alignment(header, alignment, self.image_topic)
        self.snapshots.write(header, outputs, view, alignment)
        self._look_again(result.frame.stamp_ns, outputs)

    def _warn_of_two_cameras(self, image_hw: tuple[int, int]) -> None:
        """Log that the publishers of the topic send different sizes, if there are several."""
        if self.image_hw not in (None, image_hw):
            publishers = self._node.count_publishers(self.image_topic)
            if publishers > 1:
                self._warn(f'{publishers} publishers on {self.image_topic} send images of '
                           'different sizes, for which the model may be compiled each time; '
                           'stop all but one')

    def _scale_shift(self, alignment: Alignment | None, settings: Settings, view: CameraView,
                     map_hw: tuple[int, int]) -> tuple[tuple[float, float] | None, str]:
        """
        Return what converts inverse depth to 1/z [1/m], None if unknown or not needed.

        And the reason if the focal length should give it and is unknown, else ''.
        """
        if alignment is not None:
            return (alignment.scale, alignment.shift) if alignment.usable else None, ''
        if self._kind == 'relative' and settings.relative_scale:
            return (settings.relative_scale, settings.relative_shift), ''
        if not self._info.focal_px:
            return None, ''
        if view.camera is None:
            return None, ('no metric depth: the model needs the focal length of the camera; '
                          f'{view.problem}')
        return (focal_scale(self._info, view.camera, map_hw), 0.0), ''

    def _look_again(self, stamp_ns: int, outputs: FrameOutputs) -> None:
        """Compute the mirrored image too, where the confidence is needed and it is its turn."""
        scale_shift = outputs.scale_shift
        if scale_shift is not None and (self.settings.confidence_min > 0
                                        or self._publishers.publishes_confidence()):
            self._second_looks.add(
                stamp_ns, outputs.image,
                lambda: FirstLook(outputs.model_inverse_depth, scale_shift),
                self.settings.confidence_every)
        else:
            self._second_looks.reset()

    def _decode_compressed(self, serialized: SerializedMessage) -> ColorImage:
        return decode_compressed(serialized, PixelLimit(
            self.settings.max_image_megapixels,
            'raise max_image_megapixels if the camera really has that many'))

    def _on_lost(self, count: int) -> None:
        self.lost += count

    def _on_camera_info(self, serialized: SerializedMessage) -> None:
        # Most cameras repeat the same camera_info with every image.
        if serialized.data_without_stamp != self._camera_info_data:
            self._camera_info = serialized.message
            self._camera_info_data = serialized.data_without_stamp

    def _on_image(self, decode: Callable[[SerializedMessage], ColorImage],
                  serialized: SerializedMessage) -> None:
        self.received += 1
        if not self.has_consumers:
            self.without_subscriber += 1
            return
        self._offer(Frame(serialized.stamp_ns, partial(decode, serialized), serialized, self.name))
        if self.aligner.tracks_images:
            self.aligner.track(TrackedImage(serialized, decode, self._view))

    def _view(self, image_hw: tuple[int, int]) -> CameraView:
        return camera_view(self._camera_info, image_hw, self.settings.image_geometry,
                           self.image_topic)
