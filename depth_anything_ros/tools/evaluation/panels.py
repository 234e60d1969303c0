"""The pictures of one case: the image, what the model says, what is true, and the difference."""

from collections.abc import Sequence

import cv2
from depth_anything_ros.tools.evaluation.ordinal_pairs import OrdinalPair
from depth_anything_ros.vision.agreement import FARTHEST_TO_NEAREST
from depth_anything_ros.vision.colorize import color_table, colorize, RangeTracker
from depth_anything_ros.vision.depth import inverse_from_metric
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

_UNKNOWN_BGR = (128, 128, 128)
_WORST_RGBD, _WORST_PARITY = 0.5, 0.1
_RIGHT_BGR, _WRONG_BGR = (60, 190, 60), (50, 50, 230)


def depth_panels(image_bgr: U8, predicted_m: F32, truth_m: F32) -> list[U8]:
    """
    Return image, prediction, truth and relative error of maps [H, W] in metres.

    Both maps are coloured as disparity over the range of the truth; what is unknown is grey.
    """
    truth, prediction = inverse_from_metric(truth_m), inverse_from_metric(predicted_m)
    low, high = RangeTracker().update(truth)
    error = np.abs(predicted_m - truth_m) / truth_m
    return [image_bgr, _colors(prediction, low, high), _colors(truth, low, high),
            _colors(error, 0.0, _WORST_RGBD, 'inferno')]


def parity_panels(image_bgr: U8, found: F32, expected: F32, relative: bool) -> list[U8]:
    """
    Return image, map, reference map and relative difference, at the size of the image.

    Relative maps are fitted and clipped as ``vision.agreement`` does it.
    """
    size_hw = image_bgr.shape[:2]
    if relative:
        nearness, reference = _fitted(found, expected), expected
        floor = np.float32(expected.max() / FARTHEST_TO_NEAREST)
        difference = np.abs(np.maximum(expected, floor) / np.maximum(nearness, floor) - 1)
    else:
        nearness, reference = inverse_from_metric(found), inverse_from_metric(expected)
        difference = np.abs(found - expected) / expected
    low, high = RangeTracker().update(reference)
    return [image_bgr, _colors(resize_depth(nearness, size_hw), low, high),
            _colors(resize_depth(reference, size_hw), low, high),
            _colors(resize_depth(difference, size_hw), 0.0, _WORST_PARITY, 'inferno')]


def pair_panels(image_bgr: U8, depth: F32, pairs: Sequence[OrdinalPair], right: Sequence[bool],
                relative: bool) -> list[U8]:
    """Return the image and the map [H, W] with a line per pair from the nearer point."""
    nearness = depth if relative else inverse_from_metric(depth)
    panels = [image_bgr.copy(), _colors(nearness, *RangeTracker().update(nearness))]
    thickness = max(2, image_bgr.shape[1] // 180)
    for panel in panels:
        for pair, is_right in zip(pairs, right):
            color = _RIGHT_BGR if is_right else _WRONG_BGR
            near, far = pair.nearer_rc[::-1], pair.farther_rc[::-1]
            cv2.line(panel, near, far, color, thickness, cv2.LINE_AA)
            for point, fill in ((far, color), (near, (255, 255, 255))):
                cv2.circle(panel, point, 3 * thickness, fill, -1, cv2.LINE_AA)
                cv2.circle(panel, point, 3 * thickness, color, thickness, cv2.LINE_AA)
    return panels


def _fitted(found: F32, expected: F32) -> F32:
    valid = np.isfinite(found) & np.isfinite(expected)
    if not valid.any() or np.ptp(found[valid]) == 0:
        return np.full_like(expected, np.nan)
    scale, shift = np.polyfit(found[valid].astype(np.float64), expected[valid], 1)
    fitted: F32 = (found * scale + shift).astype(np.float32)
    return fitted


def _colors(values: F32, low: float, high: float, table: str = 'spectral_r') -> U8:
    colors = colorize(values, low, high, color_table(table))
    colors[~np.isfinite(values)] = _UNKNOWN_BGR
    return colors
