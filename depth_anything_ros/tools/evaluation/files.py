"""Files of measured depth, with a sentence for each that fails."""

from pathlib import Path
from typing import Any

import cv2
from depth_anything_ros.errors import DepthAnythingError, ImageError
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
AnyArray = npt.NDArray[Any]


class DatasetError(DepthAnythingError):
    """A folder, its description or an annotation file cannot be used."""

    def __init__(self, path: Path, problem: str, fix: str) -> None:
        super().__init__(f'{path}: {problem}; {fix}')
        self.path = path


def read_depth(path: Path, scale: float) -> F32:
    """
    Return the map [H, W] of a 16-bit PNG, .npy or .pfm file, its values divided by ``scale``.

    ImageError if it is missing, unreadable or cannot be depth: 8 bit or several channels.
    """
    values = _load(path) if path.suffix.lower() == '.npy' else _decode(path)
    if values.ndim != 2:
        raise ImageError(f'{path} has the shape {values.shape}, which is not one depth per pixel')
    if values.dtype == np.uint8 or values.dtype.kind not in 'uif':
        raise ImageError(f'{path} holds {values.dtype} values, which are no depth but a picture '
                         'of it; give 16-bit PNG, .npy or .pfm files')
    depth_m: F32 = (values / np.float64(scale)).astype(np.float32)
    return depth_m


def _load(path: Path) -> AnyArray:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(f'{path} is missing or not a readable .npy file') from error
    if not isinstance(values, np.ndarray):
        raise ImageError(f'{path} is an archive of arrays; give a .npy file with one')
    return values


def _decode(path: Path) -> AnyArray:
    """Decode a picture; not by ``cv2.imread``, which fails silently and knows no Unicode."""
    try:
        content = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    except (OSError, cv2.error) as error:
        raise ImageError(f'{path} is missing or not a readable image') from error
    if picture is None:
        raise ImageError(f'{path} is not a readable image')
    return picture
