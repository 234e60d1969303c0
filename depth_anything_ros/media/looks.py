"""
Depth as a picture, as the reference tools of Depth Anything draw it.

Source: ``run.py``, ``run_video.py`` and ``metric_depth/run.py`` of Depth-Anything-V2 (the facts,
not the code): the values between two limits become matplotlib's Spectral_r of inverse depth or
Spectral of metres, so that near is red in both, beside the image with a white gap.
"""

from dataclasses import dataclass

from depth_anything_ros.model_info import Kind
from depth_anything_ros.vision.colorize import color_table, colorize
from depth_anything_ros.vision.encodings import ColorImage, to_bgr
from depth_anything_ros.vision.pictures import side_by_side
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """Colours [256, 1, 3] from the smallest to the largest value, and whether depth is alone."""

    table: U8
    pred_only: bool


def make_look(kind: Kind, color_map: str, pred_only: bool) -> Look:
    """
    Return the look of a model's depth: near gets the same colour whatever its unit is.

    Only gray is not turned over for metres, as in the reference: brighter is the larger value.
    """
    table = color_table(color_map)
    return Look(table[::-1] if kind == 'metric' and color_map != 'gray' else table, pred_only)


def draw(look: Look, image: ColorImage, depth: F32, low: float, high: float) -> U8:
    """Return the BGR picture of a map [H, W] of the image's size, its limits as given."""
    colors = colorize(depth, low, high, np.ascontiguousarray(look.table))
    return colors if look.pred_only else side_by_side(to_bgr(image), colors)
