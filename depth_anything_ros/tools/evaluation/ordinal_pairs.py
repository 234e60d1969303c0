"""
Pairs of points of which one is nearer: the annotation file of the DA-2K benchmark.

One JSON object: {"images/indoor/a.jpg": [{"point1": [row, column], "point2": [row, column],
"closer_point": "point1"}, ...], ...}, points in pixels of the image, which is named relative to a
root folder. Source: DA-2K.md of Depth-Anything-V2.
"""

from dataclasses import dataclass
import json
from pathlib import Path, PurePosixPath
from typing import Any

from depth_anything_ros.tools.evaluation.files import DatasetError

_SEE = 'the format is that of annotations.json of DA-2K, see docs/evaluating.md'
Point = tuple[int, int]


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
