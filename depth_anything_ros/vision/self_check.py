"""
The test card: a small picture made by integer arithmetic, the same on every machine.

The converter stores the f32 network's answer to it in the IR; the node asks the device that it is
about to use the same question at configure time, because GPU and NPU drivers are known to give
wrong results without an error.
"""

from depth_anything_ros.model_info import CARD_SIZE_HW, GRID_HW, SelfCheck
import numpy as np
import numpy.typing as npt


def card_image(size_hw: tuple[int, int] = CARD_SIZE_HW) -> npt.NDArray[np.uint8]:
    """Return an 8-bit BGR image [H, W, 3]: a tiled floor, a wall and a ball, all integers."""
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


def describe(output: npt.NDArray[np.float32]) -> SelfCheck:
    """Return what to store of the f32 network's output [H, W] for the test card."""
    if output.ndim != 2 or not np.isfinite(output).all():
        raise ValueError(f'the output must be a finite [H, W] array, not {output.shape}')
    samples = _sample(output, GRID_HW)
    return SelfCheck((output.shape[0], output.shape[1]), GRID_HW,
                     float(output.std()), tuple(float(value) for value in samples))


def deviation(expected: SelfCheck, output: npt.NDArray[np.float32]) -> float:
    """
    Return the mean absolute difference at the samples in units of the expected std.

    Infinity where the output has another size or is not finite.
    """
    if output.shape != expected.size_hw or not np.isfinite(output).all():
        return float('inf')
    difference = np.abs(_sample(output, expected.grid_hw) - np.array(expected.samples))
    return float(difference.mean() / max(expected.std, 1e-12))


def _sample(output: npt.NDArray[np.float32], grid_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    rows, columns = ((np.arange(count) * 2 + 1) * size // (2 * count)
                     for count, size in zip(grid_hw, output.shape))
    return output[np.ix_(rows, columns)].astype(np.float64).ravel()
