"""
Confidence of a depth map in metres: the chance of each pixel to be within 10 % of the true depth.

Four measures speak against a pixel: the difference between the depth of the image and that of the
mirrored image, a jump of inverse depth, a large depth, and the residual of the alignment. Their
logarithms are the inputs of a logistic regression, which ``python -m tools.measure.confidence``
fits and judges on images with true depth.
"""

import cv2
from depth_anything_ros.arrays import F32
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.depth import inverse_depth_jumps
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np

WITHIN = 0.1
# The median error of a fit where none is known.
TYPICAL_RESIDUAL = 0.033
# The constant, then the weights of the logarithms that ``log_measures`` returns, fitted to the
# model of the package as it was trained. A fit to its mixture with the first weights is little
# better and lets the confidence grow with the distance, which three scenes cannot prove.
ONE_LOOK = (-3.209, -0.391, -0.407, -0.859)
TWO_LOOKS = (-4.304, -0.333, -0.166, -0.651, -0.558)

_FARTHEST_M, _LEAST = 100.0, np.float32(1e-4)
# Errors extend over parts of objects, so the difference is averaged, twice, over a window of this
# share of the width.
_WINDOW = 0.075


def mirror(image: ColorImage) -> ColorImage:
    """Return the image with left and right exchanged."""
    return ColorImage(np.ascontiguousarray(image.pixels[:, ::-1]), image.order)


def disagreement(inverse_depth: F32, mirrored: F32, scale_shift: tuple[float, float]) -> F32:
    """
    Return by how much the depth of an image and of the mirrored image differ, as a share [H, W].

    ``mirrored`` [h, w] is the inverse depth of the mirrored image. It is fitted to
    ``inverse_depth`` [H, W] by a scale and a shift, because both maps lack them. ``scale_shift``
    converts ``inverse_depth`` to 1/z [1/m]. Pixels that are not finite in both maps do not count.
    """
    height, width = inverse_depth.shape
    other = resize_depth(np.ascontiguousarray(mirrored[:, ::-1]), (height, width))
    valid = np.isfinite(inverse_depth) & np.isfinite(other)
    change = np.zeros_like(inverse_depth)
    if valid.any():
        first, second = inverse_depth[valid], other[valid]
        target, centred = np.float32(first.mean()), second - second.mean()
        variance = float(centred @ centred)
        gain = float(centred @ (first - target)) / variance if variance else 0.0
        change[valid] = np.abs(target + centred * np.float32(gain) - first)
    window = (2 * round(_WINDOW * width / 2) + 1,) * 2
    smooth = cv2.blur(cv2.blur(change, window), window)
    scale, shift = scale_shift
    found: F32 = smooth * np.float32(scale) / _limited(inverse_depth * np.float32(scale)
                                                       + np.float32(shift))
    return found


def confidence(inverse_z: F32, residual: float, disagreeing: F32 | None) -> F32:
    """
    Return the estimated chance [H, W], 0 to 1, that a depth is within 10 % of the true one.

    ``inverse_z`` [H, W] is 1/z [1/m]; what is not positive counts as very far. ``residual`` is the
    median error of the alignment as a share of the depth, NaN if it is unknown. ``disagreeing``
    [H, W] is the latest ``disagreement``, also that of an earlier image, or None without one. NaN
    where one of the maps is NaN.
    """
    weights: tuple[float, ...] = ONE_LOOK if disagreeing is None else TWO_LOOKS
    odds = np.full_like(inverse_z, weights[0])
    for weight, values in zip(weights[1:], log_measures(inverse_z, residual, disagreeing)):
        odds += np.float32(weight) * values
    chance: F32 = np.reciprocal(np.exp(-odds) + np.float32(1))
    return chance


def log_measures(inverse_z: F32, residual: float, disagreeing: F32 | None) -> list[F32]:
    """Return ln of jump, depth [m], residual and, if known, disagreement; arguments as above."""
    limited = _limited(inverse_z)
    shares: list[F32] = [
        inverse_depth_jumps(limited) / limited, np.reciprocal(limited),
        np.full_like(limited, residual if np.isfinite(residual) else TYPICAL_RESIDUAL)]
    if disagreeing is not None:
        shares.append(resize_depth(disagreeing, (inverse_z.shape[0], inverse_z.shape[1])))
    return [np.log(np.maximum(share, _LEAST)) for share in shares]


def _limited(inverse_z: F32) -> F32:
    """Return 1/z [1/m] of at most the farthest depth; NaN stays NaN."""
    return np.maximum(inverse_z, np.float32(1 / _FARTHEST_M))
