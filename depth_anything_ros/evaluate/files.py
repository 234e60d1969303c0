"""Files of measured depth, with a sentence for each that fails."""

from dataclasses import dataclass
import json
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import DepthAnythingError, ImageError
import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]
_SEE = 'the format is that of annotations.json of DA-2K, see docs/evaluating.md'
Point = tuple[int, int]


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


@dataclass(frozen=True)
class OrdinalPair:
    """Two pixels (row, column), the nearer one first."""

    nearer_rc: Point
    farther_rc: Point


@dataclass(frozen=True)
class PairedImage:
    """The pairs of one image; ``name`` is its path relative to the root folder."""

    name: str
    pairs: tuple[OrdinalPair, ...]

    @property
    def scene(self) -> str:
        """Return the name of the folder that holds the image, empty without one."""
        return PurePosixPath(self.name).parent.name


def read_pairs(path: Path) -> tuple[PairedImage, ...]:
    """Read an annotation file; DatasetError names the entry that is wrong."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise DatasetError(path, f'it cannot be read ({error.strerror})', _SEE) from error
    except ValueError as error:
        raise DatasetError(path, f'it is not JSON ({error})', _SEE) from error
    if not isinstance(content, dict) or not content:
        raise DatasetError(path, 'it is no object of images and their pairs', _SEE)
    try:
        return tuple(PairedImage(name, _pairs(name, entries)) for name, entries in content.items())
    except ValueError as error:
        raise DatasetError(path, str(error), _SEE) from error


def _pairs(name: str, entries: Any) -> tuple[OrdinalPair, ...]:
    if not isinstance(entries, list) or not entries:
        raise ValueError(f'{name} has no list of pairs')
    return tuple(_pair(f'{name}, pair {number}', entry)
                 for number, entry in enumerate(entries, start=1))


def _pair(place: str, entry: Any) -> OrdinalPair:
    if not isinstance(entry, dict):
        raise ValueError(f'{place} is {entry!r} and no object')
    first, second = (_point(place, entry, key) for key in ('point1', 'point2'))
    closer = entry.get('closer_point')
    if closer not in ('point1', 'point2'):
        raise ValueError(f'{place}: closer_point is {closer!r}, neither point1 nor point2')
    return OrdinalPair(first, second) if closer == 'point1' else OrdinalPair(second, first)


def _point(place: str, entry: dict[str, Any], key: str) -> Point:
    value = entry.get(key)
    if isinstance(value, list) and len(value) == 2 and all(
            type(side) is int and side >= 0 for side in value):
        return value[0], value[1]
    raise ValueError(f'{place}: {key} is {value!r}, not [row, column] in pixels')
