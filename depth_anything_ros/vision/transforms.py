"""
Input size, resizing and normalization as in the reference code, and the sizes of the outputs.

Source: ``depth_anything_v2/util/transform.py`` and ``dpt.py`` of Depth-Anything-V2 (the facts, not
the code): the aspect ratio is kept, the short side is at least ``input_size``, both sides are
multiples of 14, the image is resized with cubic interpolation.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
from depth_anything_ros.arrays import F32, F64, Indices, U8
from depth_anything_ros.model_info import ModelInfo
import numpy as np
import numpy.typing as npt


def network_size(image_hw: tuple[int, int], input_size: int,
                 multiple: int = 14) -> tuple[int, int]:
    """
    Return (height, width) in pixels of the network input for an image of ``image_hw``.

    The larger of the two scales is used. Each side is rounded to the nearest multiple (half to
    even), or up if that is below ``input_size``: 480x640 at 518 gives (518, 686). ValueError if a
    size is not positive.
    """
    height, width = image_hw
    if height < 1 or width < 1 or input_size < 1:
        raise ValueError(f'sizes must be positive: image {width}x{height}, input {input_size}')
    scale = max(input_size / height, input_size / width)
    return (_to_multiple(scale * height, input_size, multiple),
            _to_multiple(scale * width, input_size, multiple))


def model_input_hw(info: ModelInfo, image_hw: tuple[int, int],
                   input_size: int = 0) -> tuple[int, int]:
    """
    Return (height, width) in pixels of a model's input for an image of ``image_hw``.

    ``input_size`` 0 stands for the default of the model. ValueError as ``network_size``.
    """
    return info.fixed_size_hw or network_size(image_hw, input_size or info.input_size,
                                              info.patch_multiple)


def _to_multiple(side: float, minimum: int, multiple: int) -> int:
    nearest = int(np.round(side / multiple)) * multiple
    if nearest < minimum:
        nearest = int(np.ceil(side / multiple)) * multiple
    return nearest


def crop_to_aspect(image: U8, aspect_hw: tuple[int, int]) -> U8:
    """Return the largest centred view of [H, W, C] with the aspect ratio of ``aspect_hw``."""
    height, width = image.shape[:2]
    keep_height = min(height, round(width * aspect_hw[0] / aspect_hw[1]))
    keep_width = min(width, round(height * aspect_hw[1] / aspect_hw[0]))
    top, left = (height - keep_height) // 2, (width - keep_width) // 2
    return image[top:top + keep_height, left:left + keep_width]


def resize_for_network(image: U8, size_hw: tuple[int, int], out: U8 | None = None) -> U8:
    """Resize an 8-bit image [H, W, C] to ``size_hw`` by cubic interpolation, into ``out``."""
    return cv2.resize(image, (size_hw[1], size_hw[0]), dst=out,  # type: ignore[return-value]
                      interpolation=cv2.INTER_CUBIC)


def resize_depth(depth: F32, size_hw: tuple[int, int]) -> F32:
    """
    Resize a map [H, W] to ``size_hw`` bilinearly with aligned corners, as the reference does.

    It runs on the host in f32, because in bf16 inside the graph about 700 distinct depths would
    remain. ``cv2.resize`` aligns the edges of the pixels instead and shifts the borders.
    """
    if depth.shape == size_hw:
        return depth
    rows, columns = (np.arange(size_out) * ((size_in - 1) / max(size_out - 1, 1))
                     for size_in, size_out in zip(depth.shape, size_hw))
    return resample_depth(depth, rows, columns)


def resample_depth(depth: F32, rows: F64, columns: F64) -> F32:
    """Return ``depth`` [H, W] at rows [H'] and columns [W'] in pixels, bilinearly: [H', W']."""
    return _interpolate(depth, _cells(rows, depth.shape[0]), _cells(columns, depth.shape[1]))


@dataclass(frozen=True)
class _Cells:
    """The pixel before and after each position, and the weight of the one after it."""

    before: Indices
    after: Indices
    weight: F32


def _cells(positions: npt.NDArray[np.floating[Any]], size: int) -> _Cells:
    inside = np.clip(positions, 0, size - 1)
    before = inside.astype(np.intp)
    return _Cells(before, np.minimum(before + 1, size - 1), (inside - before).astype(np.float32))


def _interpolate(depth: F32, rows: _Cells, columns: _Cells) -> F32:
    # Columns first: the rows of the result are then copied whole, which is faster than pixels.
    left = np.take(depth, columns.before, axis=1)
    wide = np.take(depth, columns.after, axis=1)
    wide -= left
    wide *= columns.weight
    wide += left
    # Differences between the few rows of the network, not between the many of the result.
    result: F32 = np.diff(wide, axis=0, append=wide[-1:])[rows.before]
    result *= rows.weight[:, None]
    result += wide[rows.before]
    return result


def normalize(image_bgr: U8, mean_rgb: tuple[float, float, float],
              std_rgb: tuple[float, float, float]) -> F32:
    """Return the network's f32 input [1, 3, H, W], RGB, of an 8-bit BGR image [H, W, 3]."""
    image = image_bgr[..., ::-1].astype(np.float32) / np.float32(255)
    image -= np.array(mean_rgb, np.float32)
    image /= np.array(std_rgb, np.float32)
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


@dataclass(frozen=True)
class OutputGrid:
    """
    Size of an output map and the position of its pixels in the image.

    Pixel u of the image is at scale * u + offset in the map, for columns and for rows.
    """

    size_hw: tuple[int, int]
    scale_xy: tuple[float, float] = (1.0, 1.0)
    offset_xy: tuple[float, float] = (0.0, 0.0)


def output_grid(output_size: str, divisor: int, image_hw: tuple[int, int],
                network_hw: tuple[int, int]) -> OutputGrid:
    """
    Return the grid of ``output_size``: input (the image), native (the network) or divisor.

    The corner pixels of the network's grid are those of the image. With divisor the sides of the
    image are divided, rounded down, and the outer edges stay those of the image, as in every
    resize of an image.
    """
    if output_size == 'native':
        rows, columns = ((network - 1) / max(image - 1, 1)
                         for network, image in zip(network_hw, image_hw))
        return OutputGrid(network_hw, (columns, rows))
    if output_size == 'input' or divisor == 1:
        return OutputGrid(image_hw)
    height, width = (max(1, side // divisor) for side in image_hw)
    rows, columns = height / image_hw[0], width / image_hw[1]
    return OutputGrid((height, width), (columns, rows), (columns / 2 - 0.5, rows / 2 - 0.5))


def depth_on_grid(depth: F32, image_hw: tuple[int, int], grid: OutputGrid) -> F32:
    """Resample the network's map [H, W] of an image of ``image_hw`` bilinearly to ``grid``."""
    if grid == output_grid('native', 1, image_hw, (depth.shape[0], depth.shape[1])):
        return depth
    return _interpolate(depth, *_grid_cells((depth.shape[0], depth.shape[1]), image_hw, grid))


@lru_cache(maxsize=8)
def _grid_cells(network_hw: tuple[int, int], image_hw: tuple[int, int],
                grid: OutputGrid) -> tuple[_Cells, _Cells]:
    """Return the cells of the rows and columns of ``grid``, which are the same for each frame."""
    rows, columns = (
        _cells((np.arange(size) - offset) / scale * ((network - 1) / max(image - 1, 1)), network)
        for size, offset, scale, network, image in zip(
            grid.size_hw, grid.offset_xy[::-1], grid.scale_xy[::-1], network_hw, image_hw))
    return rows, columns
