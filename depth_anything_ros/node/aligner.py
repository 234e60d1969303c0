"""Metres for one camera: fits each depth map to the reference and says how well that goes."""

from collections.abc import Callable
import math

from depth_anything_ros.alignment.fit import Fit, fit_alignment
from depth_anything_ros.alignment.ground import fit_ground
from depth_anything_ros.alignment.tracker import Alignment, AlignmentTracker
from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import AlignmentError, DepthAnythingError
from depth_anything_ros.model_info import Kind
from depth_anything_ros.node.camera_info import CameraView
from depth_anything_ros.node.reference import KINDS, intrinsics_on_map, Reference, stamp_s
from depth_anything_ros.parameters import Settings
from depth_anything_ros.vision.geometry import RayCache
from rclpy.node import Node
from std_msgs.msg import Header


class Aligner:
    """
    Keeps 1/z = scale * d + shift for one camera.

    ``update`` belongs to the thread that delivers results, ``freeze`` and ``latest`` to any.
    """

    def __init__(self, node: Node, prefix: str, kind: Kind,
                 read_settings: Callable[[], Settings], warn: Callable[[str], None]) -> None:
        self._node = node
        self._prefix = prefix
        self._kind = kind
        self._read_settings = read_settings
        self._warn = warn
        self._tracker = AlignmentTracker(read_settings().alignment)
        self._reference: Reference | None = None
        self._rays = RayCache()
        self._stamp_s = 0.0

    def start(self) -> None:
        """Subscribe to the reference that the parameters name; times start anew."""
        source = self._read_settings().alignment.source
        self._tracker.reset()
        if source in KINDS:
            self._reference = Reference(self._node, source, f'{self._prefix}reference/{source}',
                                        lambda: self._read_settings().alignment, self._warn)

    def stop(self) -> None:
        """Unsubscribe; a frozen alignment stays."""
        if self._reference is not None:
            self._reference.close()
            self._reference = None

    def update(self, header: Header, inverse_depth: F32, view: CameraView) -> Alignment:
        """
        Fit the map [H, W] of this header to the source, and return what holds now.

        ``view`` is that of the image. Nothing is fitted while frozen.
        """
        settings = self._read_settings()
        self._stamp_s = stamp_s(header)
        self._tracker.reconfigure(settings.alignment)
        if self._tracker.at(self._stamp_s).state != 'frozen':
            try:
                self._tracker.add(self._fit(header, inverse_depth, view, settings),
                                  self._stamp_s)
            except DepthAnythingError as error:
                self._tracker.refuse(str(error), self._stamp_s)
        return self._tracker.at(self._stamp_s)

    def latest(self) -> Alignment | None:
        """Return what held for the last frame; None without a source."""
        if self._read_settings().alignment.source == 'none':
            return None
        return self._tracker.at(self._stamp_s)

    def freeze(self, frozen: bool) -> Alignment:
        """Hold the present alignment, or let it go; AlignmentError if there is nothing to hold."""
        if self._read_settings().alignment.source == 'none':
            raise AlignmentError('alignment.source is none, so there is nothing to freeze; '
                                 'relative_scale and relative_shift are constant anyway')
        return self._tracker.freeze(frozen)

    def as_parameters(self, alignment: Alignment) -> str:
        """Return the parameters that give the same metres without a source."""
        settings, scale, shift = self._read_settings(), alignment.scale, alignment.shift
        if self._kind == 'relative':
            return f'relative_scale: {scale:.6g}, relative_shift: {shift:.6g}'
        if shift:
            return f'scale {scale:.6g}, shift {shift:.6g} 1/m, which no parameter of a metric ' \
                   'model can hold: set alignment.fit to scale for one that can'
        return (f'metric_scale: {settings.metric_scale / scale:.6g}, '
                f'metric_offset: {settings.metric_offset / scale:.6g}')

    def _fit(self, header: Header, inverse_depth: F32, view: CameraView,
             settings: Settings) -> Fit:
        source = settings.alignment.source
        with_shift = fits_shift(settings.alignment.fit, self._kind, source)
        if source == 'ground':
            return fit_ground(inverse_depth, intrinsics_on_map(view, inverse_depth),
                              settings.camera_height, settings.camera_pitch, with_shift,
                              self._rays.of)
        if self._reference is None:
            raise AlignmentError('the reference is subscribed to in activate; deactivate and '
                                 'activate the node')
        return fit_alignment(self._reference.samples(header, inverse_depth, view), with_shift)


def fits_shift(fit: str, kind: Kind, source: str) -> bool:
    """Return whether the parameter ``alignment.fit`` means scale and shift."""
    if fit == 'auto':
        return kind == 'relative' and source != 'range'
    return fit == 'scale_shift'


def alignment_values(alignment: Alignment | None) -> dict[str, str]:
    """Return what ``~/alignment``, /diagnostics and snapshots say."""
    if alignment is None:
        return {}
    return {
        'state': alignment.state, 'scale [1/m]': _number(alignment.scale),
        'shift [1/m]': _number(alignment.shift), 'residual': _number(alignment.residual),
        'support': str(alignment.support), 'outliers': _number(alignment.outliers),
        'age [s]': _number(alignment.age_s), 'reason': alignment.reason}


def _number(value: float) -> str:
    return 'none yet' if math.isnan(value) else f'{value:.6g}'
