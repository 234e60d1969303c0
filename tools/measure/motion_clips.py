"""Image sequences with true depth and poses, for measuring metres from motion."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from depth_anything_ros.arrays import F32, F64, U8
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.rgbd_folder import read_depth
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.geometry import Intrinsics, quaternion_pose
import numpy as np


# Every fourth row and column is scored, where the true depth is in this range. The scale of an
# image is wrong if its median depth is off by this share.
STRIDE, LIMITS, WRONG_SCALE = 4, DepthRange(0.1, 10.0), 0.1


@dataclass(frozen=True)
class Clip:
    """Images of a sequence with true depth [m] (NaN: none), ``odom_from_camera`` and stamps."""

    name: str
    camera: Intrinsics
    images: Sequence[U8]
    depths_m: Sequence[F32]
    poses: F64
    stamps_s: F64


def read_clip(folder: Path, per_metre: float, intrinsics: tuple[float, float, float, float],
              rate_hz: float) -> Clip:
    """Read a folder with rgb_*.jpg, depth_*.png and poses.txt; FileNotFoundError if missing."""
    file = folder / 'poses.txt'
    if not file.is_file():
        raise FileNotFoundError(f'{file} is missing; motion is measured on a sequence with poses')
    rows = np.loadtxt(file, ndmin=2)
    images, depths = [], []
    for number in rows[:, 0].astype(int):
        images.append(to_bgr(read_picture(folder / f'rgb_{number:05d}.jpg')))
        depth_m = read_depth(folder / f'depth_{number:05d}.png', per_metre)
        depths.append(np.where(depth_m > 0, depth_m, np.float32(np.nan)))
    height, width = images[0].shape[:2]
    return Clip(folder.name, Intrinsics(*intrinsics, (height, width)), images, depths,
                np.stack([quaternion_pose(row[1:4], row[4:8])
                          for row in rows]), np.arange(len(rows)) / rate_hz)
