"""Pictures to play as a camera: a folder of images, or the photographs of the package."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.picture_files import read_picture
from depth_anything_ros.tools.model_source import photographs
from depth_anything_ros.vision.geometry import Intrinsics
from depth_anything_ros.vision.transforms import crop_to_aspect
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
# Pictures held in memory, so that playing them costs no decoding: 277 MiB at 640x480.
_KEPT_PICTURES = 300
# Frames for which a photograph is shown: at 30 Hz long enough to look at its depth.
_PHOTOGRAPH_FRAMES = 60
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp')


@dataclass(frozen=True)
class Footage:
    """``read`` returns frame ``index`` of ``count`` as BGR [H, W, 3] of ``camera.size_hw``."""

    name: str
    count: int
    camera: Intrinsics
    read: Callable[[int], U8]


def open_footage(folder: Path | None, size_hw: tuple[int, int],
                 focal_px: float | None) -> Footage:
    """
    Return the pictures of ``folder`` in the order of their names, a frame each.

    Without a folder these are the photographs of the package, 60 frames each. Every picture is
    cropped to the aspect of ``size_hw`` and resized. The camera's centre is the middle of the
    picture; ``focal_px`` None stands for a horizontal field of view of 60 degrees.
    """
    frames = 1 if folder else _PHOTOGRAPH_FRAMES
    folder = folder or photographs()
    files = sorted(file for file in folder.glob('*') if file.suffix.lower() in SUFFIXES
                   and not file.name.startswith('depth'))
    if not files:
        raise ImageError(f'{folder} holds no image; supported are {", ".join(SUFFIXES)}')
    kept = [fit(read_bgr(file), size_hw) for file in files[:_KEPT_PICTURES]]

    def read(index: int) -> U8:
        number = index // frames
        return kept[number] if number < len(kept) else fit(read_bgr(files[number]), size_hw)

    return Footage(str(folder), frames * len(files), _camera(size_hw, focal_px), read)


def read_bgr(file: Path) -> U8:
    """Return a picture file as BGR [H, W, 3]; ImageError names it if it is none."""
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
    height, width = size_hw
    focal = focal_px or width / 2 / np.tan(np.radians(30))
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, size_hw)
