"""Accuracy of point clouds with the edge filter, and pictures of clouds from the side."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
import math
from pathlib import Path

import cv2
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.rgbd_folder import read_depth
from depth_anything_ros.vision.accuracy import align_relative
from depth_anything_ros.vision.cloud import organized_cloud, unpack_colors
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.depth import DepthRange, remove_flying_pixels
from depth_anything_ros.vision.geometry import Intrinsics, pixel_rays
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
import numpy.typing as npt

_MARGIN_PX, _TITLE_PX = 36, 30
_BACKGROUND, _GRID, _TEXT = 24, (70, 70, 70), (220, 220, 220)
SEQUENCE_CAMERA = Intrinsics(481.2, 480.0, 319.5, 239.5, (480, 640))
EDGE_FILTER = 0.05

_LIMITS = DepthRange(0.01, 20.0)
# Three quarters of the points are within 4 cm of the surface; flying pixels are farther away.
_NEAR_M = 0.1
_WINDOW_PX, _STRIDE = 12, 3
_TRUTH_FRAME = ('rgb_00075.jpg', 'depth_00075.png')
_EDGES_FRAME = ('rgb_00165.jpg', 'depth_00165.png')
_PER_METRE, _QUALITY = 1000.0, 82
_GRID_M, _GAP_PX = 0.5, 12


@dataclass(frozen=True)
class View:
    """The visible part, seen from the left of the camera: z [m] to the right, y [m] down."""

    z_range_m: tuple[float, float]
    y_range_m: tuple[float, float]
    px_per_m: float

    @property
    def size_hw(self) -> tuple[int, int]:
        """Return the size of the picture without its margins."""
        return (round((self.y_range_m[1] - self.y_range_m[0]) * self.px_per_m),
                round((self.z_range_m[1] - self.z_range_m[0]) * self.px_per_m))


_VIEW = View((1.0, 3.25), (-1.3, 0.95), 270.0)


def draw_from_the_side(cloud: F32, view: View, title: str, step_m: float) -> U8:
    """
    Return a labelled BGR picture of ``cloud`` [..., 4], an orthographic view from the side.

    Points near the viewer cover those behind. The grid has a line every ``step_m``.
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


def cloud_figures(maps: Iterable[F32], truths: Iterable[F32],
                  threshold: float = EDGE_FILTER) -> dict[str, float]:
    """
    Return ``edge_filter_precision_before``, ``..._after`` and ``edge_filter_kept``.

    ``maps`` are inverse depths at the network size and ``truths`` measured depths [m] of
    SEQUENCE_CAMERA; each map is fitted to its truth. Precision is the share of points within 10 cm
    of a true point of a neighbouring pixel; ``kept`` is the share of points that the filter keeps.
    """
    near: list[npt.NDArray[np.bool_]] = []
    kept: list[npt.NDArray[np.bool_]] = []
    for depth_m, truth_m in _aligned(maps, truths):
        found, true = _cloud(depth_m)[::_STRIDE, ::_STRIDE], _cloud(truth_m)
        valid = np.isfinite(found).all(axis=-1) & np.isfinite(truth_m)[::_STRIDE, ::_STRIDE]
        near.append((_distance(found, true) < _NEAR_M)[valid])
        filtered = remove_flying_pixels(depth_m, threshold)[::_STRIDE, ::_STRIDE]
        kept.append(np.isfinite(filtered)[valid])
    close, left = np.concatenate(near), np.concatenate(kept)
    return {'edge_filter_precision_before': float(close.mean()),
            'edge_filter_precision_after': float(close[left].mean()),
            'edge_filter_kept': float(left.mean())}


def cloud_pictures(folder: Path, sequence: Path, depth_of: Callable[[U8], F32]) -> list[Path]:
    """
    Write cloud_vs_truth.jpg and edge_filter.jpg into ``folder`` and return their paths.

    ``sequence`` is the folder of the sequence; ``depth_of`` returns the inverse depth [H, W] of a
    BGR image at the network size.
    """
    image, depth_m, truth_m = _frame(sequence, *_TRUTH_FRAME, depth_of)
    halves = [(remove_flying_pixels(depth_m, EDGE_FILTER), 'estimated'), (truth_m, 'true')]
    written = [write_clouds(folder / 'cloud_vs_truth.jpg', image, halves)]
    image, depth_m, _ = _frame(sequence, *_EDGES_FRAME, depth_of)
    halves = [(depth_m, 'edge_filter 0'),
              (remove_flying_pixels(depth_m, EDGE_FILTER), f'edge_filter {EDGE_FILTER:g}')]
    return [*written, write_clouds(folder / 'edge_filter.jpg', image, halves)]


def _frame(sequence: Path, image_name: str, depth_name: str,
           depth_of: Callable[[U8], F32]) -> tuple[U8, F32, F32]:
    image = to_bgr(read_picture(sequence / image_name))
    truth = read_depth(sequence / depth_name, _PER_METRE)
    return image, *next(_aligned([depth_of(image)], [truth]))


def write_clouds(path: Path, image_bgr: U8, halves: list[tuple[F32, str]]) -> Path:
    """
    Write the clouds of depth maps [m] with their titles side by side and return the path.

    They are of one image of SEQUENCE_CAMERA, seen from the side. OSError if that fails.
    """
    left, right = (draw_from_the_side(_cloud(depth_m, image_bgr), _VIEW, title, _GRID_M)
                   for depth_m, title in halves)
    gap = np.full((left.shape[0], _GAP_PX, 3), 255, np.uint8)
    if not cv2.imwrite(str(path), np.concatenate([left, gap, right], axis=1),
                       [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]):
        raise OSError(f'{path} cannot be written')
    return path


def _aligned(maps: Iterable[F32], truths: Iterable[F32]) -> Iterator[tuple[F32, F32]]:
    """Yield depth [m] fitted to the truth, and the truth with NaN where it is invalid."""
    for inverse_depth, truth_m in zip(maps, truths):
        truth = np.where(truth_m > 0, truth_m, np.float32(np.nan))
        size_hw = SEQUENCE_CAMERA.size_hw
        yield align_relative(resize_depth(inverse_depth, size_hw), truth, _LIMITS), truth


def _cloud(depth_m: F32, image_bgr: U8 | None = None) -> F32:
    return organized_cloud(depth_m, image_bgr, pixel_rays(SEQUENCE_CAMERA, 1))


def _distance(found: F32, true: F32) -> F32:
    """Return the distance [m] of strided points to the nearest true point of pixels around."""
    height, width = true.shape[:2]
    border = ((_WINDOW_PX, _WINDOW_PX), (_WINDOW_PX, _WINDOW_PX), (0, 0))
    padded = np.pad(true, border, constant_values=np.nan)
    nearest = np.full(found.shape[:2], np.inf, np.float32)
    for row in range(0, 2 * _WINDOW_PX + 1, _STRIDE):
        for column in range(0, 2 * _WINDOW_PX + 1, _STRIDE):
            moved = padded[row:row + height:_STRIDE, column:column + width:_STRIDE]
            nearest = np.fmin(nearest, np.square(found - moved).sum(axis=-1))
    return np.sqrt(nearest)
