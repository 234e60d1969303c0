"""The point cloud that a costmap or a viewer asked for."""

from dataclasses import dataclass

from depth_anything_ros.settings import Settings
from depth_anything_ros.vision.cloud import (
    clear_far, decimate, HeightBand, organised_cloud, within_band)
from depth_anything_ros.vision.depth import limit_range
from depth_anything_ros.vision.geometry import Rays
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CloudOptions:
    """
    Which points there are; metres, 0 for no limit.

    Points beyond ``maximum_m`` are put at ``clearing_m`` if that is set: a costmap clears along
    their rays. They are exempt from ``band``.
    """

    minimum_m: float = 0.0
    maximum_m: float = 0.0
    clearing_m: float = 0.0
    voxel_m: float = 0.0
    band: HeightBand | None = None

    @classmethod
    def of(cls, settings: Settings) -> 'CloudOptions':
        """Return what the parameters ``points_*`` say."""
        band = HeightBand(settings.points_height_min, settings.points_height_max,
                          settings.camera_height, settings.camera_pitch)
        return cls(settings.points_min, settings.points_max, settings.points_clearing,
                   settings.points_voxel, band if settings.has_height_band else None)


def cloud_of(depth_m: F32, image_bgr: U8 | None, rays: Rays, options: CloudOptions) -> F32:
    """
    Return points [H', W', C], or [N, C] with a voxel size, of depth [m] [H, W].

    C is 4 with an image (x, y, z, packed rgb) and 3 without. ``depth_m`` may hold +inf.
    """
    if options.clearing_m:
        depth_m = clear_far(depth_m, options.maximum_m, options.clearing_m)
    farthest_m = options.clearing_m or options.maximum_m
    cloud = organised_cloud(limit_range(depth_m, options.minimum_m, farthest_m), image_bgr, rays)
    if options.band is not None:
        whole, cloud = cloud, within_band(cloud, options.band)
        if options.clearing_m:
            cleared = whole[..., 2] > options.maximum_m
            cloud[cleared] = whole[cleared]
    return decimate(cloud, options.voxel_m) if options.voxel_m else cloud
