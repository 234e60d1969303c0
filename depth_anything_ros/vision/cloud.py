"""
Point clouds from depth maps: range, clearing points, height filter, voxel grid.

Points are in the optical frame of REP 103: x right, y down, z forward, in metres.
"""

from dataclasses import dataclass
import math

import cv2
from depth_anything_ros.arrays import F32, I64, U8
from depth_anything_ros.vision.depth import limit_range
from depth_anything_ros.vision.geometry import Rays
import numpy as np
import numpy.typing as npt

_KEY_BITS = 21


@dataclass(frozen=True)
class HeightBand:
    """
    Heights above the floor of the points to keep, and the pose of the camera, in metres.

    The optical axis points ``camera_pitch_rad`` below the horizon.
    """

    minimum_m: float
    maximum_m: float
    camera_height_m: float
    camera_pitch_rad: float


def organized_cloud(depth_m: F32, image_bgr: U8 | None, rays: Rays) -> F32:
    """
    Return the points as float32 [H, W, 4]: x, y, z in metres and packed rgb.

    ``depth_m`` [H, W] and the image [H, W, 3] have the pixels of ``rays``. x, y and z are NaN
    where ``depth_m`` is NaN. The fourth value holds the bits 0x00RRGGBB, the field rgb of PCL and
    RViz. Without an image the cloud is [H, W, 3].
    """
    planes = [depth_m * rays.x_over_z, depth_m * rays.y_over_z, depth_m]
    if rays.outside is not None:
        planes[2] = np.where(rays.outside, np.float32(np.nan), depth_m)
    if image_bgr is not None:
        planes.append(_packed(image_bgr))
    # One pass over the cloud instead of one per plane.
    return cv2.merge(planes)  # type: ignore[return-value]


def _packed(image_bgr: U8) -> F32:
    """Return BGR [H, W, 3] as float32 [H, W] with the bits 0x00RRGGBB."""
    bgra = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2BGRA)
    color: npt.NDArray[np.uint32] = bgra.view('<u4')[..., 0]
    color &= np.uint32(0xFFFFFF)
    return color.astype(np.uint32, copy=False).view(np.float32)


def unpack_colors(cloud: F32) -> U8:
    """Return the packed rgb of ``cloud`` [..., 4] as BGR [..., 3]."""
    packed = np.ascontiguousarray(cloud[..., 3]).view(np.uint32)
    return np.stack([packed & 255, packed >> 8 & 255, packed >> 16 & 255],
                    axis=-1).astype(np.uint8)


def move_far_points(depth_m: F32, maximum_m: float, clearing_m: float) -> F32:
    """
    Return ``depth_m`` with ``clearing_m`` where it is larger than ``maximum_m`` or infinite.

    A costmap clears free space along the rays of these points. NaN stays NaN.
    """
    return np.where(depth_m > np.float32(maximum_m), np.float32(clearing_m), depth_m)


def filter_height(cloud: F32, band: HeightBand) -> F32:
    """Return a copy of ``cloud`` [..., 3 or 4] with x, y and z NaN outside the height band."""
    below = np.array([math.cos(band.camera_pitch_rad), math.sin(band.camera_pitch_rad)],
                     np.float32)
    height = np.float32(band.camera_height_m) - cloud[..., 1:3] @ below
    kept: F32 = cloud.copy()
    kept[~((height >= band.minimum_m) & (height <= band.maximum_m)), :3] = np.nan
    return kept


def voxel_downsample(cloud: F32, voxel_m: float) -> F32:
    """
    Return one point per cube of ``voxel_m`` [m]: float32 [N, C] of ``cloud`` [..., C].

    It is the centroid of the finite points in the cube, with the colour of the first one. Points
    farther than a million cubes share the outermost cubes.
    """
    points = cloud.reshape(-1, cloud.shape[-1])
    points = points[np.isfinite(points[:, :3]).all(axis=1)]
    if not len(points):
        return points
    keys = _keys(points[:, :3], voxel_m)
    order = np.argsort(keys, kind='stable')
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    counts = np.diff(starts, append=len(keys))
    thinned = points[order[starts]]
    sums = np.add.reduceat(points[order, :3], starts, axis=0, dtype=np.float64)
    thinned[:, :3] = sums / counts[:, None]
    return thinned


def _keys(points_xyz: F32, voxel_m: float) -> I64:
    """Return one integer [N] per point, the same for all points in a cube."""
    limit = 1 << (_KEY_BITS - 1)
    cell = np.floor(points_xyz.astype(np.float64) / voxel_m)
    index = np.clip(cell, -limit, limit - 1).astype(np.int64) + limit
    return index[:, 0] << 2 * _KEY_BITS | index[:, 1] << _KEY_BITS | index[:, 2]


@dataclass(frozen=True)
class CloudOptions:
    """
    Filters of a point cloud in metres; 0 and None turn a filter off.

    Points farther than ``maximum_m`` are moved to ``clearing_m`` if it is set: a costmap clears
    free space along their rays. ``band`` does not remove them.
    """

    minimum_m: float = 0.0
    maximum_m: float = 0.0
    clearing_m: float = 0.0
    voxel_m: float = 0.0
    band: HeightBand | None = None


def point_cloud(depth_m: F32, image_bgr: U8 | None, rays: Rays, options: CloudOptions) -> F32:
    """
    Return the points [H, W, C] of a depth map [H, W] in metres, [N, C] with a voxel size.

    C is 4 with an image [H, W, 3] (x, y, z, packed rgb) and 3 without. Map and image have the
    pixels of ``rays``. ``depth_m`` may hold +inf.
    """
    if options.clearing_m:
        depth_m = move_far_points(depth_m, options.maximum_m, options.clearing_m)
    farthest_m = options.clearing_m or options.maximum_m
    cloud = organized_cloud(limit_range(depth_m, options.minimum_m, farthest_m), image_bgr, rays)
    if options.band is not None:
        every_point, cloud = cloud, filter_height(cloud, options.band)
        if options.clearing_m:
            clearing = every_point[..., 2] > options.maximum_m
            cloud[clearing] = every_point[clearing]
    return voxel_downsample(cloud, options.voxel_m) if options.voxel_m else cloud
