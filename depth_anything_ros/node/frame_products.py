"""Everything that one depth map gives, each made when it is first asked for."""

from collections.abc import Callable
from functools import cached_property

import cv2
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.model_info import Kind
from depth_anything_ros.parameters import Settings
from depth_anything_ros.vision.cloud import cloud_of, CloudOptions, HeightBand
from depth_anything_ros.vision.color_image import ColorImage, to_bgr
from depth_anything_ros.vision.colorize import color_table, colorize, RangeTracker
from depth_anything_ros.vision.depth import (
    Correction, disparity_for_looking, inverse_depth, limit_range, metres, metric_from_inverse)
from depth_anything_ros.vision.edge_filter import without_edges
from depth_anything_ros.vision.geometry import Intrinsics, RayCache
from depth_anything_ros.vision.transforms import depth_on_grid, Grid


class OutputState:
    """What one camera's products keep from frame to frame; belongs to one thread."""

    def __init__(self) -> None:
        self.range = RangeTracker()
        self._table: tuple[str, U8] = ('', color_table('gray'))
        self.rays = RayCache()

    def table(self, color_map: str) -> U8:
        """Return the colours of ``color_map``."""
        if self._table[0] != color_map:
            self._table = (color_map, color_table(color_map))
        return self._table[1]


class FrameOutputs:
    """
    Maps on the grid of the outputs, clouds and colours of one frame.

    ``depth`` [H, W] is the model's map of the network's size. ``scale_shift`` turns inverse depth
    into 1/z, None if that is unknown. ``steady`` frees inverse depth of flicker, for colours.
    """

    def __init__(self, image: ColorImage, depth: F32, kind: Kind, grid: Grid, rule: Correction,
                 scale_shift: tuple[float, float] | None, steady: Callable[[F32], F32],
                 settings: Settings, memory: OutputState) -> None:
        self.image = image
        self.grid = grid
        self._depth = depth
        self._kind = kind
        self._rule = rule
        self._scale_shift = scale_shift
        self._steady = steady
        self._settings = settings
        self._memory = memory

    @cached_property
    def model_depth(self) -> F32:
        """Return what the model gives on the grid: inverse depth, or metres uncorrected."""
        return depth_on_grid(self._depth, self.image.size_hw, self.grid)

    @property
    def unit(self) -> str:
        """Return the unit of ``model_depth`` in words."""
        return 'inverse depth, larger is nearer' if self._kind == 'relative' else 'm'

    @cached_property
    def image_bgr(self) -> U8:
        """Return the image on the grid, BGR [H, W, 3]."""
        image = to_bgr(self.image)
        if self.grid.size_hw == self.image.size_hw:
            return image
        return cv2.resize(image, self.grid.size_hw[::-1],  # type: ignore[return-value]
                          interpolation=cv2.INTER_AREA)

    @cached_property
    def unlimited_depth_m(self) -> F32 | None:
        """Return metres without jumps, +inf at infinity and NaN where invalid, if known."""
        depth_m = metres(self.model_depth, self._kind, self._rule, self._scale_shift)
        return None if depth_m is None else without_edges(depth_m, self._settings.edge_filter)

    @cached_property
    def depth_m(self) -> F32 | None:
        """Return metres within ``depth_min`` and ``depth_max``, NaN elsewhere, if known."""
        if self.unlimited_depth_m is None:
            return None
        return limit_range(self.unlimited_depth_m, self._settings.depth_min,
                           self._settings.depth_max)

    @cached_property
    def nearness(self) -> F32:
        """Return the steady inverse depth that is coloured."""
        return self._steady(inverse_depth(self.model_depth, self._kind, self._rule))

    @cached_property
    def color(self) -> U8:
        """Return colours for people, BGR [H, W, 3]."""
        return colorize(self.nearness, *self._tracked, self._memory.table(
            self._settings.color_map))

    def camera_on_grid(self, camera: Intrinsics) -> Intrinsics:
        """Return the image's ``camera`` with the pixels of the grid."""
        return camera.on_grid(self.grid.size_hw, self.grid.scale_xy, self.grid.offset_xy)

    def cloud(self, camera: Intrinsics) -> F32 | None:
        """
        Return points of the image's ``camera``, or None if metres are unknown.

        A relative model that nobody aligns gives a cloud for looking, between ``points_near`` and
        ``points_far``.
        """
        depth_m = self.unlimited_depth_m
        if depth_m is None and self._settings.alignment.source == 'none':
            depth_m = metric_from_inverse(self.nearness, *disparity_for_looking(
                *self._tracked, self._settings.points_near, self._settings.points_far))
        if depth_m is None:
            return None
        rays = self._memory.rays.of(self.camera_on_grid(camera), self._settings.points_stride)
        return cloud_of(depth_m, self.image_bgr if self._settings.points_color else None, rays,
                        cloud_options(self._settings))

    @cached_property
    def _tracked(self) -> tuple[float, float]:
        return self._memory.range.update(self.nearness)


def cloud_options(settings: Settings) -> CloudOptions:
    """Return what the parameters ``points_*`` say."""
    band = HeightBand(settings.points_height_min, settings.points_height_max,
                      settings.camera_height, settings.camera_pitch)
    return CloudOptions(settings.points_min, settings.points_max, settings.points_clearing,
                        settings.points_voxel, band if settings.has_height_band else None)


def correction(kind: Kind, settings: Settings, camera: Intrinsics | None) -> Correction:
    """
    Return what ``metric_scale``, ``metric_offset`` and ``metric_focal`` say for this camera.

    A network sees an image of fixed short side, so its metres are proportional to the focal
    length in short sides (Yin et al., Metric3D, ICCV 2023). Without a camera there is no such
    correction.
    """
    if kind == 'relative':
        return Correction()
    factor = settings.metric_scale
    if settings.metric_focal and camera is not None:
        factor *= min(camera.fx, camera.fy) / min(camera.size_hw) / settings.metric_focal
    return Correction(factor, settings.metric_offset)
