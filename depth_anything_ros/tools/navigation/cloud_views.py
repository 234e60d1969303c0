"""A cloud drawn from the side without perspective, over a grid in metres."""

from dataclasses import dataclass
import math

import cv2
from depth_anything_ros.vision.pictures import unpack_colors
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

_MARGIN_PX, _TITLE_PX = 36, 30
_BACKGROUND, _GRID, _TEXT = 24, (70, 70, 70), (220, 220, 220)


@dataclass(frozen=True)
class View:
    """What is seen from the left of the camera: z [m] to the right, y [m] down."""

    z_range_m: tuple[float, float]
    y_range_m: tuple[float, float]
    px_per_m: float

    @property
    def size_hw(self) -> tuple[int, int]:
        """Return the size of the picture without its margins."""
        return (round((self.y_range_m[1] - self.y_range_m[0]) * self.px_per_m),
                round((self.z_range_m[1] - self.z_range_m[0]) * self.px_per_m))


def draw_from_the_side(cloud: F32, view: View, title: str, step_m: float) -> U8:
    """
    Return a labelled BGR picture of ``cloud`` [..., 4], the nearest to the eye on top.

    The grid has a line every ``step_m``.
    """
    height, width = view.size_hw
    picture = np.full((height + _MARGIN_PX + _TITLE_PX, width + _MARGIN_PX, 3), _BACKGROUND,
                      np.uint8)
    _draw_grid(picture, view, step_m)
    inner = picture[_TITLE_PX:_TITLE_PX + height, _MARGIN_PX:]
    _draw_points(inner, cloud[np.isfinite(cloud[..., :3]).all(axis=-1)], view)
    cv2.putText(picture, title, (_MARGIN_PX, _TITLE_PX - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.55,
                (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def _draw_points(picture: U8, points: F32, view: View) -> None:
    height, width = view.size_hw
    columns = np.round((points[:, 2] - view.z_range_m[0]) * view.px_per_m).astype(np.int64)
    rows = np.round((points[:, 1] - view.y_range_m[0]) * view.px_per_m).astype(np.int64)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    order = np.flatnonzero(inside)[np.argsort(-points[inside, 0], kind='stable')]
    colors = unpack_colors(points[order])
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        picture[np.minimum(rows[order] + row, height - 1),
                np.minimum(columns[order] + column, width - 1)] = colors


def _draw_grid(picture: U8, view: View, step_m: float) -> None:
    height, width = view.size_hw
    for value in _lines(view.z_range_m, step_m):
        column = _MARGIN_PX + min(round((value - view.z_range_m[0]) * view.px_per_m), width - 1)
        cv2.line(picture, (column, _TITLE_PX), (column, _TITLE_PX + height), _GRID, 1)
        _label(picture, f'{value:g}', (column - 8, _TITLE_PX + height + 16))
    for value in _lines(view.y_range_m, step_m):
        row = _TITLE_PX + min(round((value - view.y_range_m[0]) * view.px_per_m), height - 1)
        cv2.line(picture, (_MARGIN_PX, row), (_MARGIN_PX + width, row), _GRID, 1)
        _label(picture, f'{value:g}', (2, row + 4))
    _label(picture, 'z [m], forward', (_MARGIN_PX + width // 2 - 45, _TITLE_PX + height + 32))
    _label(picture, 'y [m]', (0, _TITLE_PX - 10))


def _lines(limits_m: tuple[float, float], step_m: float) -> list[float]:
    first, last = math.ceil(limits_m[0] / step_m), math.floor(limits_m[1] / step_m)
    return [number * step_m for number in range(first, last + 1)]


def _label(picture: U8, text: str, position: tuple[int, int]) -> None:
    cv2.putText(picture, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _TEXT, 1, cv2.LINE_AA)
