"""The pictures that the player sends, and the camera that they stand for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
from depth_anything_ros.arrays import U8
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.folders import required_color_pictures
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.resources import photographs
from depth_anything_ros.vision.geometry import Intrinsics, pinhole_camera
from depth_anything_ros.vision.transforms import crop_to_aspect
import numpy as np

# Pictures that stay decoded in memory: 277 MiB at 640x480.
_KEPT_PICTURES = 300
# Each photograph of the package is played for this number of frames, 2 s at 30 Hz.
_PHOTOGRAPH_FRAMES = 60
# Horizontally, of a camera whose focal length is not known.
_FOV_DEG = 60.0


@dataclass(frozen=True)
class Footage:
    """
    The frames to play.

    ``read`` returns frame ``index``, from 0 to ``count`` - 1, as BGR u8 [H, W, 3] of
    ``camera.size_hw``.
    """

    name: str
    count: int
    camera: Intrinsics
    read: Callable[[int], U8]


def open_footage(folder: Path | None, size_hw: tuple[int, int],
                 focal_px: float | None) -> Footage:
    """
    Return the pictures below ``folder`` in the order of their paths, a frame each.

    They are those of ``color_pictures_below``. ``folder`` None stands for the photographs of the
    package, 60 frames each. Each picture is cropped to the aspect of ``size_hw`` and resized.
    The principal point of the camera is the middle of the picture; ``focal_px`` at ``size_hw``,
    None: a horizontal field of view of 60 degrees. ImageError if there is no picture or a file
    cannot be read.
    """
    frames = 1 if folder else _PHOTOGRAPH_FRAMES
    folder = folder or photographs()
    files = required_color_pictures(folder)
    kept = [fit(read_bgr(file), size_hw) for file in files[:_KEPT_PICTURES]]

    def read(index: int) -> U8:
        number = index // frames
        return kept[number] if number < len(kept) else fit(read_bgr(files[number]), size_hw)

    return Footage(str(folder), frames * len(files), _camera(size_hw, focal_px), read)


def read_bgr(file: Path) -> U8:
    """Return a picture file as BGR u8 [H, W, 3]; ImageError names a file that cannot be read."""
    try:
        return read_picture(file).pixels
    except ImageError as error:
        raise ImageError(f'{file}: {error}') from error


def fit(picture: U8, size_hw: tuple[int, int]) -> U8:
    """Crop [H, W, 3] around its centre to the aspect of ``size_hw`` and resize it."""
    crop = crop_to_aspect(picture, size_hw)
    if crop.shape[:2] == size_hw:
        return np.ascontiguousarray(crop)
    return cv2.resize(crop, (size_hw[1], size_hw[0]),  # type: ignore[return-value]
                      interpolation=cv2.INTER_AREA)


def _camera(size_hw: tuple[int, int], focal_px: float | None) -> Intrinsics:
    camera = pinhole_camera(size_hw, _FOV_DEG)
    return replace(camera, fx=focal_px, fy=focal_px) if focal_px else camera
