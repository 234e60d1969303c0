"""Depth of one picture: computing, drawing, and the files to download."""

from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path

import cv2
from depth_anything_ros.app.models import Inference, ModelChoice, ModelSlot
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.errors import SettingsError
from depth_anything_ros.foreign_files import printable, shortened
from depth_anything_ros.media.depth_files import (
    camera_cloud, encode_png, finite_range, write_depth, write_ply)
from depth_anything_ros.media.glb import finite_points, write_glb
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.vision.color_image import ColorImage, to_bgr
from depth_anything_ros.vision.colorize import ColorMap
from depth_anything_ros.vision.drawing import depth_style, draw_depth
from depth_anything_ros.vision.encoded_image import PixelLimit
from depth_anything_ros.vision.geometry import image_focal_metres, Intrinsics, pinhole_camera
import numpy as np

_LONGEST_SHOWN_PX = 1600
_MOST_POINTS_SHOWN = 160_000
# A picture, its depth, its cloud and their files need 60 bytes per pixel.
LIMIT = PixelLimit(50.0, 'make it smaller, or use depth_anything_run')
_LONGEST_ENDING = '_color.png'
# RGB of the background of the 3-D view.
BACKGROUND = (26, 26, 31)
# The 3-D view begins this factor farther from the middle of the cloud than the camera was.
_BEHIND = 1.15


@dataclass(frozen=True)
class Look:
    """Colours of a depth map, and the part of its range that they cover, in percent."""

    color_map: ColorMap = 'spectral_r'
    low_percent: float = 0.0
    high_percent: float = 100.0

    def __post_init__(self) -> None:
        if not 0 <= self.low_percent < self.high_percent <= 100:
            raise SettingsError('colour range', (self.low_percent, self.high_percent),
                                'two percentages, the first one smaller')


@dataclass(frozen=True)
class Camera:
    """
    The camera of a picture, for its point cloud.

    ``fx`` and the other three are in pixels of the picture; with ``fx`` 0 it is a pinhole camera
    with a horizontal field of view of ``fov_deg`` degrees.
    """

    fov_deg: float = 60.0
    fx: float = 0.0
    fy: float = 0.0
    cx: float = 0.0
    cy: float = 0.0

    def intrinsics(self, size_hw: tuple[int, int]) -> Intrinsics:
        """Return the intrinsics for a picture of this size; SettingsError if they cannot be."""
        if self.fx:
            return Intrinsics(self.fx, self.fy, self.cx, self.cy, size_hw)
        if not 1 <= self.fov_deg <= 179:
            raise SettingsError('field of view', self.fov_deg, 'from 1 to 179 degrees')
        return pinhole_camera(size_hw, self.fov_deg)


@dataclass(frozen=True)
class PictureDepth:
    """A picture and its depth; ``name`` is the start of the names of its files."""

    name: str
    image: ColorImage
    inference: Inference

    def cloud(self, camera: Camera) -> F32:
        """
        Return the points [H, W, 4] of ``camera_cloud``; SettingsError as ``intrinsics``.

        Those of a model that needs the focal length are in metres.
        """
        info, intrinsics = self.inference.info, camera.intrinsics(self.image.size_hw)
        depth, kind = self.inference.depth, info.kind
        if info.focal_px is not None:
            kind = 'metric'
            depth = image_focal_metres(info, intrinsics, depth, self.inference.state.input_size)
        return camera_cloud(depth, kind, self.image, intrinsics)


def compute_picture(slot: ModelSlot, choice: ModelChoice, file: Path) -> PictureDepth:
    """Return the depth of a picture file; ImageError if it cannot be read."""
    image = read_picture(file, LIMIT)
    name = shortened(printable(file.stem), _LONGEST_ENDING)
    return PictureDepth(name, image, slot.infer(choice, to_bgr(image)))


def draw(result: PictureDepth, look: Look) -> U8:
    """Return the depth as a BGR picture [H, W, 3], as ``depth_anything_run`` draws it."""
    depth = result.inference.depth
    low, high = finite_range(depth)
    span = high - low
    return draw_depth(depth_style(result.inference.info.kind, look.color_map, True), result.image,
                      depth, low + span * look.low_percent / 100,
                      high - span * (100 - look.high_percent) / 100)


def write_shown(folder: Path, name: str, pictures_bgr: Sequence[U8]) -> list[Path]:
    """Write pictures to look at, reduced to 1600 px where they are larger."""
    paths = []
    for number, picture in enumerate(pictures_bgr):
        scale = _LONGEST_SHOWN_PX / max(picture.shape[:2])
        if scale < 1:
            height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
            picture = cv2.resize(  # type: ignore[assignment]
                picture, (width, height), interpolation=cv2.INTER_AREA)
        paths.append(folder / f'{name}_{number}.png')
        paths[-1].write_bytes(encode_png(picture))
    return paths


def write_downloads(folder: Path, result: PictureDepth, look: Look) -> list[Path]:
    """
    Write four files for download, equal to those of ``depth_anything_run``; return their paths.

    These are the depth in colours, in 8-bit gray and as 16-bit PNG, and the map as float32 NumPy
    file.
    """
    kind, depth = result.inference.info.kind, result.inference.depth
    color, gray, png16, npy = (folder / f'{result.name}{ending}' for ending in
                               (_LONGEST_ENDING, '_gray.png', '_16bit.png', '.npy'))
    color.write_bytes(encode_png(draw(result, look)))
    gray.write_bytes(encode_png(draw(result, Look('gray', look.low_percent, look.high_percent))))
    # These need no field of view.
    write_depth(png16, 'png16', depth, kind, result.image, Camera.fov_deg)
    write_depth(npy, 'npy', depth, kind, result.image, Camera.fov_deg)
    return [color, gray, png16, npy]


def write_cloud(folder: Path, name: str,
                cloud: F32) -> tuple[Path, Path, tuple[float, float, float]]:
    """
    Write a point cloud [H, W, 4] as PLY, and for the 3-D view, thinned out if it is large.

    Returns both paths and where the view begins: the angles around and from the vertical axis
    [degrees] and the distance [m] of Babylon's ArcRotateCamera, whose axes are those of glTF. It
    is behind the camera on its optical axis. PointCloudError if no point is finite.
    """
    stride = max(1, math.ceil(math.sqrt(cloud.shape[0] * cloud.shape[1] / _MOST_POINTS_SHOWN)))
    points, middle_m = centred(cloud[::stride, ::stride].reshape(-1, 4))
    ply, glb = folder / f'{name}.ply', folder / f'{name}.glb'
    write_ply(ply, cloud)
    write_glb(glb, points)
    return ply, glb, (90.0, 90.0, _BEHIND * middle_m)


def centred(points: F32) -> tuple[F32, float]:
    """
    Return the points [N, 4] of the optical frame with two more, and the middle of their depth [m].

    The viewer turns around the middle of the box around all points. The two, in the colour of its
    background, put that on the optical axis. PointCloudError if no point is finite.
    """
    finite = finite_points(points)[:, :3]
    corner = np.abs(finite).max(axis=0)
    added = np.empty((2, 4), np.float32)
    added[:, :3] = corner, corner * (-1, -1, 1)
    red, green, blue = BACKGROUND
    added[:, 3] = np.array(red << 16 | green << 8 | blue, np.uint32).view(np.float32)
    return np.concatenate([points, added]), float(finite[:, 2].min() + corner[2]) / 2
