"""The outputs of one frame, each computed on first use: depth, colours, point cloud."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
from depth_anything_ros.alignment.filling import (
    compare_depth, fill_depth, FilledDepth, FITTED, MEASURED, measured_on_grid, NO_DEPTH)
from depth_anything_ros.alignment.fit import check_fit
from depth_anything_ros.alignment.references import check_view
from depth_anything_ros.arrays import Bools, F32, U8
from depth_anything_ros.model_info import Kind
from depth_anything_ros.parameters import Settings
from depth_anything_ros.vision.cloud import CloudOptions, HeightBand, point_cloud
from depth_anything_ros.vision.color_image import ColorImage, to_bgr
from depth_anything_ros.vision.colorize import color_table, colorize, RangeTracker
from depth_anything_ros.vision.confidence import confidence
from depth_anything_ros.vision.depth import (
    display_scale_shift, inverse_from_metric, limit_range, metric_depth, metric_from_inverse,
    MetricCorrection, model_inverse_depth, remove_flying_pixels)
from depth_anything_ros.vision.geometry import Intrinsics, RayCache, Rays
from depth_anything_ros.vision.stabilization import Stabilizer
from depth_anything_ros.vision.transforms import depth_on_grid, OutputGrid
import numpy as np

# Returns the scale and the shift that remove flicker from inverse depth; for one call.
Stabilize = Callable[[], tuple[float, float]]


class OutputState:
    """State of one camera's outputs that is kept from frame to frame; for one thread only."""

    def __init__(self) -> None:
        self.range = RangeTracker()
        self.rays = RayCache()
        self._stabilizer = Stabilizer()
        self._color_table: tuple[str, U8] = ('', color_table('gray'))

    def reset(self) -> None:
        """Forget the range of the colours and the estimate of the stabilizer."""
        self.range.reset()
        self._stabilizer.reset()

    def color_table(self, color_map: str) -> U8:
        """Return the colours of ``color_map``, BGR [256, 3]."""
        if self._color_table[0] != color_map:
            self._color_table = (color_map, color_table(color_map))
        return self._color_table[1]

    def stabilize(self, depth: F32, kind: Kind, correction: MetricCorrection,
                  stabilization: str) -> tuple[F32, MetricCorrection, Stabilize]:
        """
        Apply the parameter ``stabilization`` to the model's output ``depth`` [H, W].

        Return the map that all outputs use, its correction, and a function that returns scale and
        shift of the inverse depth for the colours.
        """
        def stabilize() -> tuple[float, float]:
            found = self._stabilizer.update(model_inverse_depth(depth, kind, correction))
            if self._stabilizer.was_reset:
                self.range.reset()
            return found

        if stabilization == 'off':
            return depth, correction, _unchanged
        if stabilization == 'color':
            return depth, correction, stabilize
        scale, shift = stabilize()
        stable = model_inverse_depth(depth, kind, correction) * np.float32(scale) + np.float32(
            shift)
        if kind == 'relative':
            return stable, correction, _unchanged
        return inverse_from_metric(stable), MetricCorrection(), _unchanged


def _unchanged() -> tuple[float, float]:
    return 1.0, 0.0


@dataclass(frozen=True)
class ConfidenceInputs:
    """What is known about the errors of a depth map: see ``vision.confidence.confidence``."""

    residual: float = np.nan
    disagreement: F32 | None = None


class FrameOutputs:
    """
    Maps on the output grid, colours and point clouds of one frame.

    ``depth`` is the model's output [H, W]. ``scale_shift`` converts its inverse depth to 1/z
    [1/m], None if it is unknown or not needed; with an ``alignment.source`` it is always needed,
    because the metres of a metric model have another scale. ``stabilize`` gives scale and shift of
    the inverse depth that is coloured, without flicker. ``sky`` [H, W] has no depth, or infinite
    depth, by the parameter ``sky_filter``. ``inputs`` is what the confidence depends on beside
    the depth.
    """

    def __init__(self, image: ColorImage, depth: F32, kind: Kind, grid: OutputGrid,
                 correction: MetricCorrection, scale_shift: tuple[float, float] | None,
                 stabilize: Stabilize, settings: Settings, state: OutputState,
                 sky: Bools | None = None, inputs: ConfidenceInputs = ConfidenceInputs()) -> None:
        self.image = image
        self.grid = grid
        self._depth = depth
        self._kind = kind
        self._correction = correction
        self._scale_shift = scale_shift
        self._stabilize = stabilize
        self._settings = settings
        self._state = state
        self._sky = sky
        self._inputs = inputs

    @cached_property
    def model_depth(self) -> F32:
        """Return the model's output on the grid, in ``unit``, stabilized by that parameter."""
        return depth_on_grid(self._depth, self.image.size_hw, self.grid)

    @property
    def unit(self) -> str:
        """Return the unit of ``model_depth`` in words."""
        if self._kind == 'relative':
            return 'inverse depth, larger is nearer'
        # Stabilized depth is corrected already.
        return ('m, before alignment' if self._correction == MetricCorrection() else
                'm, before correction and alignment')

    @cached_property
    def image_bgr(self) -> U8:
        """Return the image on the grid, BGR [H, W, 3]."""
        image = to_bgr(self.image)
        if self.grid.size_hw == self.image.size_hw:
            return image
        return cv2.resize(image, self.grid.size_hw[::-1],  # type: ignore[return-value]
                          interpolation=cv2.INTER_AREA)

    @property
    def scale_shift(self) -> tuple[float, float] | None:
        """Return what converts ``model_inverse_depth`` to 1/z [1/m], None without metres."""
        if self._scale_shift is None and self._kind == 'metric' and (
                self._settings.alignment.source == 'none'):
            return 1.0, 0.0
        return self._scale_shift

    @cached_property
    def model_inverse_depth(self) -> F32:
        """Return the inverse depth at the network size, before stabilization for the colours."""
        return model_inverse_depth(self._depth, self._kind, self._correction)

    @cached_property
    def confidence(self) -> F32 | None:
        """Return the chance of each pixel to be within 10 % of the true depth, or None."""
        if self.scale_shift is None:
            return None
        scale, shift = (np.float32(one) for one in self.scale_shift)
        found = confidence(self.model_inverse_depth * scale + shift, self._inputs.residual,
                           self._inputs.disagreement)
        return depth_on_grid(found, self.image.size_hw, self.grid)

    @cached_property
    def unlimited_depth_m(self) -> F32 | None:
        """
        Return depth [m], +inf at infinity, NaN where invalid, or None.

        Without flying pixels and pixels whose confidence is too low.
        """
        if self._metric_depth_m is None:
            return None
        depth_m = remove_flying_pixels(self._metric_depth_m, self._settings.edge_filter)
        if self._settings.confidence_min > 0 and self.confidence is not None:
            # Sky at infinity stays: it is known to be far.
            doubtful = (self.confidence < self._settings.confidence_min) & np.isfinite(depth_m)
            depth_m = np.where(doubtful, np.float32(np.nan), depth_m)
        return depth_m

    @cached_property
    def depth_m(self) -> F32 | None:
        """Return depth [m] from ``depth_min`` to ``depth_max``, NaN elsewhere; None if unknown."""
        if self.unlimited_depth_m is None:
            return None
        return limit_range(self.unlimited_depth_m, self._settings.depth_min,
                           self._settings.depth_max)

    def filled(self, measured_m: F32 | None) -> FilledDepth | None:
        """
        Return ``measured_m`` [h, w], a depth image of the same view, with its holes filled.

        Without it, or with fewer measured pixels than ``alignment.min_support``, all is fitted
        depth. None without metric depth. AlignmentError if the measured depth has another view or
        contradicts the fit, by the limits that apply to a fit.
        """
        settings, fitted_m = self._settings, self._metric_depth_m
        if fitted_m is None or self.unlimited_depth_m is None:
            return None
        agrees, depth_m = np.zeros(fitted_m.shape, bool), fitted_m
        if measured_m is not None:
            check_view((measured_m.shape[0], measured_m.shape[1]), self.image.size_hw)
            on_grid = measured_on_grid(measured_m, self.image.size_hw, self.grid)
            found = compare_depth(on_grid, fitted_m, settings.alignment.filled_tolerance)
            if found.compared >= settings.alignment.min_support:
                check_fit(found.fit, settings.alignment)
                agrees = found.agrees
                depth_m = fill_depth(on_grid, fitted_m, agrees, settings.alignment.filled_seam)
        depth_m = np.where(agrees | ~np.isnan(self.unlimited_depth_m), depth_m, np.float32(np.nan))
        depth_m = limit_range(depth_m, settings.depth_min, settings.depth_max)
        mask = np.where(agrees, np.uint8(MEASURED), np.uint8(FITTED))
        mask[np.isnan(depth_m)] = NO_DEPTH
        return FilledDepth(depth_m, mask)

    @cached_property
    def color(self) -> U8:
        """Return the stabilized inverse depth in colours, BGR [H, W, 3]."""
        scale, shift = self._display_fit
        low, high = ((limit - shift) / scale for limit in self._color_range)
        return colorize(self._inverse_on_grid, low, high,
                        self._state.color_table(self._settings.color_map))

    def cloud(self, camera: Intrinsics) -> F32 | None:
        """
        Return the point cloud for the image's ``camera``, None if metric depth is unknown.

        A relative model without alignment gives a cloud for display only, from ``points_near`` to
        ``points_far``.
        """
        rays = self._state.rays.get(camera.on_grid(self.grid), self._settings.points_stride)
        if self.unlimited_depth_m is not None:
            depth_m = rays.pick(self.unlimited_depth_m)
        elif self._settings.alignment.source == 'none':
            depth_m = self._displayed_depth_m(rays)
        else:
            return None
        colors = rays.pick_colors(self.image_bgr) if self._settings.points_color else None
        return point_cloud(depth_m, colors, rays, cloud_options(self._settings))

    @cached_property
    def _metric_depth_m(self) -> F32 | None:
        """Return depth [m] as ``unlimited_depth_m``, with what that removes."""
        if self.scale_shift is None:
            return None
        depth_m = metric_depth(self.model_depth, self._kind, self._correction, self._scale_shift)
        return depth_m if depth_m is None or self._sky_on_grid is None else (
            self._without(self._sky_on_grid, depth_m))

    def _displayed_depth_m(self, rays: Rays) -> F32:
        """Return depth from ``points_near`` to ``points_far`` [m] of the pixels of ``rays``."""
        near_m, far_m = self._settings.points_near, self._settings.points_far
        scale, shift = display_scale_shift(*self._color_range, near_m, far_m)
        stable_scale, stable_shift = self._display_fit
        depth_m = metric_from_inverse(rays.pick(self._inverse_on_grid), scale * stable_scale,
                                      scale * stable_shift + shift)
        return depth_m if self._sky_on_grid is None else (
            self._without(rays.pick(self._sky_on_grid), depth_m))

    def _without(self, sky: Bools, depth_m: F32) -> F32:
        """Return depth [m] with ``sky`` as ``sky_filter`` states."""
        return np.where(
            sky, np.float32(np.inf if self._settings.sky_filter == 'far' else np.nan), depth_m)

    @cached_property
    def _sky_on_grid(self) -> Bools | None:
        if self._sky is None:
            return None
        share = depth_on_grid(self._sky.astype(np.float32), self.image.size_hw, self.grid)
        return share >= np.float32(0.5)

    @cached_property
    def _inverse_on_grid(self) -> F32:
        return model_inverse_depth(self.model_depth, self._kind, self._correction)

    @cached_property
    def _display_fit(self) -> tuple[float, float]:
        """Return scale and shift of ``_inverse_on_grid`` without flicker."""
        return self._stabilize()

    @cached_property
    def _color_range(self) -> tuple[float, float]:
        # The fit first: after a cut it resets the range.
        scale, shift = self._display_fit
        return self._state.range.update(self._inverse_on_grid, scale, shift)


def cloud_options(settings: Settings) -> CloudOptions:
    """Return the filters that the parameters ``points_*`` set."""
    band = HeightBand(settings.points_height_min, settings.points_height_max,
                      settings.camera_height, settings.camera_pitch)
    return CloudOptions(settings.points_min, settings.points_max, settings.points_clearing,
                        settings.points_voxel, band if settings.has_height_band else None)


def metric_correction(kind: Kind, settings: Settings,
                      camera: Intrinsics | None) -> MetricCorrection:
    """
    Return the correction by ``metric_scale``, ``metric_offset`` and ``metric_focal``.

    The network sees images of one short side, so its metres are proportional to the focal length
    divided by the short side (Yin et al., Metric3D, ICCV 2023). ``metric_focal`` has no effect
    without a camera, and no parameter has an effect on a relative model.
    """
    if kind == 'relative':
        return MetricCorrection()
    scale = settings.metric_scale
    if settings.metric_focal and camera is not None:
        scale *= min(camera.fx, camera.fy) / min(camera.size_hw) / settings.metric_focal
    return MetricCorrection(scale, settings.metric_offset)
