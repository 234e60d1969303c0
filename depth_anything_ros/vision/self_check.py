"""
Self-check of a device: its output for a test image, compared with the f32 output in the IR.

Some GPU and NPU drivers give wrong results without an error. The converter runs the f32 network on
the test image and stores samples of the output in the IR; the node runs the same image on the
device when it is configured. Integer arithmetic makes the image the same on every machine.
"""

from depth_anything_ros.arrays import F32, F64, U8
from depth_anything_ros.model_info import SELF_CHECK_GRID_HW, SELF_CHECK_SIZE_HW, SelfCheck
import numpy as np


def self_check_image(size_hw: tuple[int, int] = SELF_CHECK_SIZE_HW) -> U8:
    """Return the test image, BGR [H, W, 3]: a tiled floor, a wall and a ball."""
    height, width = size_hw
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    horizon = height * 2 // 5
    depth = np.maximum(y - horizon, 1)
    tiles = ((x - width // 2) * 8 // (depth + 20) + height * 24 // (depth + 20)) % 2
    floor = 70 + tiles * 90 + depth * 60 // height
    wall = 200 - y * 90 // height + (x * 7 // width) % 2 * 25
    scene = np.where(y > horizon, floor, wall)
    image = np.stack([scene - 20, scene, scene + 15], axis=-1)
    radius = height // 5
    dx, dy = x - width * 2 // 3, y - height * 3 // 5
    inside = dx * dx + dy * dy < radius * radius
    shade = 220 - (dx + dy + 2 * radius) * 120 // (4 * radius)
    ball = np.stack([shade // 3, shade // 2, shade], axis=-1)
    return np.clip(np.where(inside[..., None], ball, image), 0, 255).astype(np.uint8)


def make_self_check(output: F32, size_hw: tuple[int, int] | None = None) -> SelfCheck:
    """
    Return what the IR stores of the f32 output [H, W]; ValueError if it is not finite.

    ``size_hw`` is the size of the test image, None for that of the output.
    """
    if output.ndim != 2 or not np.isfinite(output).all():
        raise ValueError(f'the output must be a finite [H, W] array, not {output.shape}')
    samples = _sample(output, SELF_CHECK_GRID_HW)
    return SelfCheck(size_hw or (output.shape[0], output.shape[1]), SELF_CHECK_GRID_HW,
                     float(output.std()), tuple(float(value) for value in samples))


def deviation(expected: SelfCheck, output: F32,
              output_hw: tuple[int, int] | None = None) -> float:
    """
    Return the mean absolute difference at the samples, divided by the expected std.

    Infinity if the output is not finite or its size is not ``output_hw``, None for the size of
    the test image.
    """
    if output.shape != (output_hw or expected.size_hw) or not np.isfinite(output).all():
        return float('inf')
    difference = np.abs(_sample(output, expected.grid_hw) - np.array(expected.samples))
    return float(difference.mean() / max(expected.std, 1e-12))


def _sample(output: F32, grid_hw: tuple[int, int]) -> F64:
    rows, columns = ((np.arange(count) * 2 + 1) * size // (2 * count)
                     for count, size in zip(grid_hw, output.shape))
    return output[np.ix_(rows, columns)].astype(np.float64).ravel()
