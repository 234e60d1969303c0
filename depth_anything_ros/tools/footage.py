"""Pictures to play as a camera: a folder of images, or the ones that PyPI packages ship."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
from depth_anything_ros.errors import ImageError, MissingDependencyError
from depth_anything_ros.vision.geometry import Intrinsics
from depth_anything_ros.vision.transforms import crop_to_aspect
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
# Pictures held in memory, so that playing them costs no decoding: 277 MiB at 640x480.
_KEPT_PICTURES = 300
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
    Return the pictures of ``folder`` in the order of their names, or of packages without one.

    Every picture is cropped to the aspect of ``size_hw`` and resized. The camera's centre is the
    middle of the picture; ``focal_px`` None stands for a horizontal field of view of 60 degrees.
    """
    camera = _camera(size_hw, focal_px)
    if folder is None:
        pictures = [fit(picture, size_hw) for picture in _package_pictures()]
        return Footage('pictures of scikit-image and scikit-learn', len(pictures), camera,
                       lambda index: pictures[index])
    files = sorted(file for file in folder.glob('*') if file.suffix.lower() in SUFFIXES
                   and not file.name.startswith('depth'))
    if not files:
        raise ImageError(f'{folder} holds no image; supported are {", ".join(SUFFIXES)}')
    kept = [fit(_read(file), size_hw) for file in files[:_KEPT_PICTURES]]
    return Footage(str(folder), len(files), camera,
                   lambda index: kept[index] if index < len(kept)
                   else fit(_read(files[index]), size_hw))


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


def _read(file: Path) -> U8:
    picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if picture is None:
        raise ImageError(f'{file} is not a readable image')
    return picture  # type: ignore[return-value]


def _package_pictures() -> list[U8]:
    try:
        from skimage import data
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise MissingDependencyError(
            'scikit-image and scikit-learn', 'a demo without a folder of images',
            "pip install 'depth_anything_ros[demo-images]', or name a folder with --images"
        ) from error
    motorcycle, _, _ = data.stereo_motorcycle()
    rgb = [motorcycle, data.coffee(), *load_sample_images().images]
    return [np.ascontiguousarray(picture[..., ::-1]) for picture in rgb]
