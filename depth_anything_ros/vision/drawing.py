"""Pictures of depth maps and point clouds, as the reference tools of Depth Anything draw them."""

from dataclasses import dataclass

import cv2
from depth_anything_ros.arrays import F32, F64, U8
from depth_anything_ros.model_info import Kind
from depth_anything_ros.vision.cloud import unpack_colors
from depth_anything_ros.vision.color_image import ColorImage, to_bgr
from depth_anything_ros.vision.colorize import color_table, colorize
import numpy as np

_GAP_PX = 50


def side_by_side(left_bgr: U8, right_bgr: U8) -> U8:
    """Return two pictures [H, W, 3] of one height with the 50 px gap of the reference tools."""
    gap = np.full((left_bgr.shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([left_bgr, gap, right_bgr], axis=1)


def render_cloud(cloud: F32, size_hw: tuple[int, int], yaw_deg: float = -14.0,
                 pitch_deg: float = 14.0) -> U8:
    """
    Return a BGR picture of ``cloud`` [..., 4] from the side and above.

    The view turns around the median point of the cloud, which is in the optical frame.
    """
    points = cloud[np.isfinite(cloud[..., :3]).all(axis=-1)]
    height, width = size_hw
    picture = np.full((height, width, 3), 24, np.uint8)
    if len(points) == 0:
        return picture
    centre = np.median(points[:, :3], axis=0)
    turned = (points[:, :3] - centre) @ _rotation(yaw_deg, pitch_deg).T
    turned[:, 2] += 1.25 * centre[2]
    seen = turned[:, 2] > 0.05 * centre[2]
    turned, colors = turned[seen], unpack_colors(points[seen])
    focal = 0.8 * width
    columns = np.round(turned[:, 0] / turned[:, 2] * focal + width / 2).astype(int)
    rows = np.round(turned[:, 1] / turned[:, 2] * focal + height / 2).astype(int)
    far_to_near = np.argsort(-turned[:, 2])
    for row_offset in (0, 1, 2):
        for column_offset in (0, 1, 2):
            row, column = rows[far_to_near] + row_offset, columns[far_to_near] + column_offset
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            picture[row[inside], column[inside]] = colors[far_to_near][inside]
    return picture


def _rotation(yaw_deg: float, pitch_deg: float) -> F64:
    yaw: F64 = cv2.Rodrigues(
        np.array([0.0, np.radians(yaw_deg), 0.0]))[0]  # type: ignore[assignment]
    pitch: F64 = cv2.Rodrigues(
        np.array([np.radians(pitch_deg), 0.0, 0.0]))[0]  # type: ignore[assignment]
    return pitch @ yaw


@dataclass(frozen=True)
class DepthStyle:
    """Colours [256, 1, 3] from the smallest to the largest value; ``pred_only``: no image."""

    table: U8
    pred_only: bool


def depth_style(kind: Kind, color_map: str, pred_only: bool) -> DepthStyle:
    """
    Return the style of a model's depth: near has the same colour for both kinds of models.

    Only gray is not reversed for metric depth, as in the reference: brighter is the larger value.
    """
    table = color_table(color_map)
    if kind == 'metric' and color_map != 'gray':
        table = table[::-1]
    return DepthStyle(table, pred_only)


def draw_depth(style: DepthStyle, image: ColorImage, depth: F32, low: float, high: float) -> U8:
    """Return a BGR picture of a map [H, W] of the image's size, coloured from low to high."""
    colors = colorize(depth, low, high, np.ascontiguousarray(style.table))
    return colors if style.pred_only else side_by_side(to_bgr(image), colors)
