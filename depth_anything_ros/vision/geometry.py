"""
From a depth map to an organised point cloud.

Points are in the optical frame of REP 103: x right, y down, z forward.
"""

from dataclasses import dataclass

from depth_anything_ros.errors import CameraInfoError
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera, all four in pixels of an image of ``size_hw``."""

    fx: float
    fy: float
    cx: float
    cy: float
    size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not np.isfinite(values).all() or self.fx <= 0 or self.fy <= 0:
            raise CameraInfoError(
                f'the camera is not calibrated (fx {self.fx:g}, fy {self.fy:g}); '
                'calibrate it, for example with camera_calibration')


@dataclass(frozen=True)
class Rays:
    """Directions of the pixels kept by ``stride``: x/z per column and y/z per row."""

    x_over_z: F32
    y_over_z: F32
    stride: int


def pixel_rays(camera: Intrinsics, stride: int) -> Rays:
    """Return the rays of every ``stride``-th column and row, as float32 [W'] and [H']."""
    height, width = camera.size_hw
    columns = np.arange(0, width, stride, dtype=np.float64)
    rows = np.arange(0, height, stride, dtype=np.float64)
    return Rays(((columns - camera.cx) / camera.fx).astype(np.float32),
                ((rows - camera.cy) / camera.fy).astype(np.float32), stride)


def organised_cloud(depth_m: F32, image_bgr: U8, rays: Rays) -> F32:
    """
    Return the points as float32 [H', W', 4]: x, y, z in metres and packed rgb.

    ``depth_m`` [H, W] is NaN where invalid and so are x, y and z there. The fourth value carries
    the bits 0x00RRGGBB, as PCL and RViz expect of a field named rgb.
    """
    depth = depth_m[::rays.stride, ::rays.stride]
    color = image_bgr[::rays.stride, ::rays.stride].astype(np.uint32)
    cloud = np.empty((*depth.shape, 4), np.float32)
    np.multiply(depth, rays.x_over_z[None, :], out=cloud[..., 0])
    np.multiply(depth, rays.y_over_z[:, None], out=cloud[..., 1])
    cloud[..., 2] = depth
    packed = (color[..., 2] << 16) | (color[..., 1] << 8) | color[..., 0]
    cloud[..., 3] = packed.view(np.float32)
    return cloud
