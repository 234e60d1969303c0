"""One camera of the node: its subscriptions, its alignment, its outputs."""

from collections.abc import Callable
from functools import partial

from depth_anything_ros.alignment.tracker import Alignment
from depth_anything_ros.arrays import F32
from depth_anything_ros.inference.scheduler import Frame, Result
from depth_anything_ros.model_info import Kind
from depth_anything_ros.node.aligner import Aligner
from depth_anything_ros.node.camera_info import camera_view
from depth_anything_ros.node.frame_products import correction, OutputState, FrameOutputs
from depth_anything_ros.node.outputs import Outputs
from depth_anything_ros.node.snapshots import SnapshotRequests
from depth_anything_ros.parameters import Settings
from depth_anything_ros.ros import qos
from depth_anything_ros.ros.image_subscription import Input, ImageSubscription
from depth_anything_ros.ros.messages import decode_compressed, decode_image, SerializedMessage
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.depth import Correction, inverse_depth, inverse_from_metric
from depth_anything_ros.vision.stabilization import Stabilizer
from depth_anything_ros.vision.transforms import output_grid
import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image


class CameraStream:
    """
    Everything that belongs to one camera; its topics lie below ``name``, if it has one.

    Images come on a thread of their own, ``on_result`` runs on the thread that delivers results.
    ``settings`` is replaced as a whole when parameters change.
    """

    def __init__(self, node: LifecycleNode, name: str, kind: Kind, settings: Settings,
                 offer: Callable[[Frame], object], warn: Callable[[str], None]) -> None:
        prefix = f'{name}/' if name else ''
        self.name = name
        self.settings = settings
        self.received = self.unwanted = 0
        self.image_hw: tuple[int, int] | None = None
        self.image_topic = node.resolve_topic_name(f'{prefix}image')
        self.snapshots = SnapshotRequests()
        self._node = node
        self._prefix = prefix
        self._kind = kind
        self._offer = offer
        self._warn = warn if not name else lambda sentence: warn(f'{name}: {sentence}')
        self.aligner = Aligner(node, prefix, kind, lambda: self.settings, self._warn)
        self._info: CameraInfo | None = None
        self._info_text = b''
        self._intake: ImageSubscription | None = None
        self._memory = OutputState()
        self._stabilizer = Stabilizer()
        self._outputs = Outputs(node, prefix, kind, self._warn)

    def start(self) -> None:
        """Subscribe, with nothing remembered of an earlier run."""
        self._info, self._info_text = None, b''
        self._memory.range.reset()
        self._stabilizer.reset()
        self.aligner.start()
        base = self._node.resolve_topic_name(f'{self._prefix}image')
        # As image_transport does, /compressed is appended to the remapped topic.
        kind, decode, topic = (
            (CompressedImage, decode_compressed, f'{base}/compressed')
            if self.settings.image_transport == 'compressed'
            else (Image, decode_image, f'{self._prefix}image'))
        self.image_topic = self._node.resolve_topic_name(topic)
        self._intake = ImageSubscription(self._node, (
            Input(kind, topic, partial(self._on_image, decode), qos.image_input()),
            Input(CameraInfo, f'{self._prefix}camera_info', self._on_camera_info,
                  qos.camera_info_input())), self._warn)

    def stop(self) -> None:
        """Unsubscribe; idempotent."""
        self.aligner.stop()
        if self._intake is not None:
            self._intake.close()
            self._intake = None

    def close(self) -> None:
        """Unsubscribe and destroy the publishers; idempotent."""
        self.stop()
        self._outputs.close()

    @property
    def is_wanted(self) -> bool:
        """Return whether anybody waits for what a frame gives."""
        return self._outputs.anyone_listens() or self.snapshots.is_wanted

    def on_result(self, result: Result) -> None:
        """Publish what a frame gives to whoever listens."""
        if isinstance(result.outcome, Exception) or result.image is None:
            self._warn(f'frame lost: {result.outcome}')
            return
        header = result.frame.context.header
        image, settings, info = result.image, self.settings, self._info
        view = camera_view(info, image.size_hw, settings.image_geometry, self.image_topic)
        if info is not None and view.info is None:
            self._warn(view.problem)
        depth, rule, steady = self._steadied(
            result.outcome, correction(self._kind, settings, view.camera), settings)
        alignment = None
        if settings.alignment.source != 'none':
            alignment = self.aligner.update(
                header, inverse_depth(depth, self._kind, rule), view)
        grid = output_grid(settings.output_size, settings.output_divisor, image.size_hw,
                           (depth.shape[0], depth.shape[1]))
        products = FrameOutputs(image, depth, self._kind, grid, rule,
                            _scale_shift(self._kind, alignment, settings), steady, settings,
                            self._memory)
        self.image_hw = image.size_hw
        self._outputs.publish(header, products, view, settings.depth_encoding)
        self._outputs.publish_alignment(header, alignment, self.image_topic)
        self.snapshots.offer(header, products, view, alignment)

    def _steadied(self, depth: F32, rule: Correction,
                  settings: Settings) -> tuple[F32, Correction, Callable[[F32], F32]]:
        """Return the map, its correction, and what makes inverse depth steady for colours."""
        def steady(nearness: F32) -> F32:
            gain, offset = self._stabilizer.update(inverse_depth(depth, self._kind, rule))
            if self._stabilizer.began_anew:
                self._memory.range.reset()
            return nearness * np.float32(gain) + np.float32(offset)

        if settings.stabilization == 'off':
            return depth, rule, unchanged
        if settings.stabilization == 'color':
            return depth, rule, steady
        d = steady(inverse_depth(depth, self._kind, rule))
        return ((d, rule, unchanged) if self._kind == 'relative'
                else (inverse_from_metric(d), Correction(), unchanged))

    def _on_camera_info(self, incoming: SerializedMessage) -> None:
        # Most cameras say the same thirty times a second.
        if incoming.apart_from_stamp != self._info_text:
            self._info, self._info_text = incoming.message, incoming.apart_from_stamp

    def _on_image(self, decode: Callable[[SerializedMessage], ColorImage], incoming: SerializedMessage) -> None:
        self.received += 1
        if not self.is_wanted:
            self.unwanted += 1
            return
        self._offer(Frame(incoming.stamp_ns, partial(decode, incoming), incoming, self.name))


def unchanged(nearness: F32) -> F32:
    """Return the map as it is."""
    return nearness


def _scale_shift(kind: Kind, alignment: Alignment | None,
                 settings: Settings) -> tuple[float, float] | None:
    """Return what turns inverse depth into 1/z, or None: unknown, or not needed."""
    if alignment is not None:
        return (alignment.scale, alignment.shift) if alignment.usable else None
    if kind == 'relative' and settings.relative_scale:
        return settings.relative_scale, settings.relative_shift
    return None
