"""Flying pixels: points that a network puts between the two surfaces of an edge."""

import cv2
from depth_anything_ros.arrays import F32
from depth_anything_ros.vision.depth import inverse_from_metric
import numpy as np
import numpy.typing as npt

# Half windows in pixels of a map of this width: for a jump, and for the slope of its surroundings.
_WIDTH, _JUMP, _SLOPE = 640, 1, 4
_HUGE = np.float32(1e30)


def without_edges(depth_m: F32, threshold: float) -> F32:
    """
    Return a copy of ``depth_m`` [H, W] with NaN on both sides of jumps.

    A jump is where the inverse depth changes, between neighbours, by more than ``threshold`` of
    itself over what it changes nearby. Inverse depth is linear on any plane, so that a floor seen
    at a flat angle stays whole. The distance between neighbours is a 640th of the width. 0 returns
    the input.
    """
    if threshold <= 0:
        return depth_m
    inverse = inverse_from_metric(depth_m)
    invalid = np.isnan(inverse)
    reach = max(1, round(depth_m.shape[1] / _WIDTH))
    change = _range(inverse, invalid, _window(_JUMP * reach))
    jump = change - cv2.erode(change, _window(_SLOPE * reach))
    filtered: F32 = depth_m.copy()
    filtered[jump > np.float32(threshold) * inverse] = np.nan
    return filtered


def _range(values: F32, invalid: npt.NDArray[np.bool_], window: npt.NDArray[np.uint8]) -> F32:
    """Return the largest less the smallest valid value in the window, huge where invalid."""
    upper, lower = values, values
    if invalid.any():
        upper, lower = values.copy(), values.copy()
        upper[invalid], lower[invalid] = 0.0, _HUGE
    change: F32 = cv2.dilate(upper, window)  # type: ignore[assignment]
    change -= cv2.erode(lower, window)
    change[invalid] = _HUGE
    return change


def _window(reach: int) -> npt.NDArray[np.uint8]:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
