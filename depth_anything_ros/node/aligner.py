"""The alignment of one camera: fits depth maps to the reference that a parameter selects."""

from collections.abc import Callable
import math

from depth_anything_ros.alignment.fit import AlignmentFrame, AlignmentSource, fits_shift
from depth_anything_ros.alignment.ground import GroundSource
from depth_anything_ros.alignment.tracker import Alignment, AlignmentTracker
from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import (
    AlignmentError, AlignmentHeldError, DepthAnythingError)
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.node.camera_info import CameraView
from depth_anything_ros.node.motion import MotionSource, TrackedImage
from depth_anything_ros.node.odometry import open_poses
from depth_anything_ros.node.reference import Reference
from depth_anything_ros.parameters import Settings
from depth_anything_ros.ros.messages import stamp_s
from depth_anything_ros.vision.geometry import network_intrinsics
from rclpy.node import Node
from std_msgs.msg import Header


# Metric depth may be missing for this time [s] before a warning says why.
_SILENT_S = 2.0


class Aligner:
    """
    Estimates scale and shift of 1/z = scale * d + shift for one camera.

    ``update`` must be called from the thread that delivers results; the other methods but
    ``start`` and ``stop`` may be called from any thread. ``prefix`` comes before the reference
    topics. Whole depth images of the reference are kept while ``keeps_images`` returns true.
    """

    def __init__(self, node: Node, prefix: str, info: ModelInfo,
                 read_settings: Callable[[], Settings], warn: Callable[[str], None],
                 keeps_images: Callable[[], bool]) -> None:
        self._node = node
        self._prefix = prefix
        self._info = info
        self._read_settings = read_settings
        self._warn = warn
        self._keeps_images = keeps_images
        self._tracker = AlignmentTracker(read_settings().alignment)
        self._source: AlignmentSource | None = None
        self._stamp_s = 0.0
        self._usable_s: float | None = None

    def start(self) -> None:
        """Open the source of ``alignment.source``; only a frozen alignment is kept."""
        self._tracker.reset()
        self._usable_s = None
        self._source = self.open_source(self._read_settings().alignment.source)

    def stop(self) -> None:
        """Unsubscribe; a frozen alignment is kept."""
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def open_source(self, name: str) -> AlignmentSource | None:
        """Return the source that ``alignment.source`` names, None for none."""
        if name == 'none':
            return None
        if name == 'ground':
            return GroundSource(self._read_settings)
        if name in ('motion', 'motion+ground'):
            return MotionSource(
                self._read_settings,
                open_poses(self._node, lambda: self._read_settings().motion, self._warn),
                self._warn)
        return Reference(self._node, name, f'{self._prefix}reference/{name}',
                         lambda: self._read_settings().alignment, self._warn,
                         self._keeps_images)

    @property
    def tracks_images(self) -> bool:
        """Return whether the source needs every image, by ``track``."""
        return isinstance(self._source, MotionSource) and not self._tracker.is_frozen

    def track(self, image: TrackedImage) -> None:
        """Pass an image to the source, which may skip it; never blocks."""
        source = self._source
        if isinstance(source, MotionSource):
            source.offer(image)

    def update(self, header: Header, inverse_depth: F32, view: CameraView,
               image_hw: tuple[int, int]) -> Alignment:
        """
        Fit the network's map [H, W] to the reference and return the alignment for it.

        ``view`` is the camera of the image and ``image_hw`` its size. A frozen alignment is
        returned unchanged.
        """
        settings = self._read_settings()
        self._stamp_s = stamp_s(header)
        self._tracker.reconfigure(settings.alignment)
        if self._tracker.at(self._stamp_s).state != 'frozen':
            try:
                if self._source is None:
                    raise AlignmentError('the node opens the source in activate; deactivate and '
                                         'activate it')
                with_shift = fits_shift(settings.alignment.fit, self._info.kind,
                                        settings.alignment.source, self._info.has_shift)
                frame = _frame(header, inverse_depth, view, image_hw)
                fit = self._source.fit(frame, with_shift)
                if fit is not None:
                    self._tracker.add(fit, self._stamp_s)
            except AlignmentHeldError as error:
                self._tracker.hold(str(error), self._stamp_s)
            except DepthAnythingError as error:
                self._tracker.reject(str(error), self._stamp_s)
        alignment = self._tracker.at(self._stamp_s)
        self._warn_if_missing(alignment)
        return alignment

    def _warn_if_missing(self, alignment: Alignment) -> None:
        if alignment.usable or self._usable_s is None or self._stamp_s < self._usable_s:
            self._usable_s = self._stamp_s
        elif self._stamp_s - self._usable_s > _SILENT_S:
            self._warn(f'no metric depth: {alignment.reason}')

    def measured_depth(self, header: Header, alignment: Alignment | None) -> F32 | None:
        """
        Return the reference depth image [h, w] in metres for an image that has ``alignment``.

        None if there is none for this image, with a warning if it should be there. AlignmentError
        if the image has no fit, or if the source is not depth.
        """
        if alignment is not None and not alignment.usable:
            raise AlignmentError(alignment.reason)
        if not isinstance(self._source, Reference) or self._source.source != 'depth':
            raise AlignmentError('it needs alignment.source depth, which is read in activate; set '
                                 'it, then deactivate and activate the node')
        try:
            return self._source.measured_depth(stamp_s(header))
        except AlignmentError as error:
            self._warn(f'filled depth without measured pixels: {error}')
            return None

    def latest(self) -> Alignment | None:
        """Return the alignment of the last frame, None if ``alignment.source`` is none."""
        if self._read_settings().alignment.source == 'none':
            return None
        return self._tracker.at(self._stamp_s)

    def freeze(self, frozen: bool) -> Alignment:
        """Freeze the alignment or release it; AlignmentError if there is none to freeze."""
        if self._read_settings().alignment.source == 'none':
            raise AlignmentError('alignment.source is none, so there is nothing to freeze; '
                                 'relative_scale and relative_shift are constant')
        return self._tracker.freeze(frozen)

    def as_parameters(self, alignment: Alignment) -> str:
        """Return the parameters that give the same metric depth without a reference."""
        settings, scale, shift = self._read_settings(), alignment.scale, alignment.shift
        if self._info.kind == 'relative':
            return f'relative_scale: {scale:.6g}, relative_shift: {shift:.6g}'
        if shift:
            return (f'scale {scale:.6g}, shift {shift:.6g} 1/m; a metric model has no parameter '
                    'for a shift: set alignment.fit to scale')
        return (f'metric_scale: {settings.metric_scale / scale:.6g}, '
                f'metric_offset: {settings.metric_offset / scale:.6g}')


def _frame(header: Header, inverse_depth: F32, view: CameraView,
           image_hw: tuple[int, int]) -> AlignmentFrame:
    height, width = inverse_depth.shape
    camera = None if view.camera is None else network_intrinsics(view.camera, (height, width))
    return AlignmentFrame(inverse_depth, camera, view.problem, stamp_s(header), header.frame_id,
                          image_hw)


def alignment_values(alignment: Alignment | None) -> dict[str, str]:
    """Return the values for ``~/alignment``, /diagnostics and snapshots, as texts."""
    if alignment is None:
        return {}
    return {
        'state': alignment.state, 'scale [1/m]': _number(alignment.scale),
        'shift [1/m]': _number(alignment.shift), 'residual': _number(alignment.residual),
        'support': str(alignment.support), 'outliers': _number(alignment.outliers),
        'age [s]': _number(alignment.age_s), 'reason': alignment.reason}


def _number(value: float) -> str:
    return 'none yet' if math.isnan(value) else f'{value:.6g}'
