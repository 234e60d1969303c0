"""
Input size, resizing and normalization as in the reference code, and the sizes of the outputs.

Source: ``depth_anything_v2/util/transform.py`` and ``dpt.py`` of Depth-Anything-V2 (the facts, not
the code): the aspect ratio is kept, the short side is at least ``input_size``, both sides are
multiples of 14, the image is resized with cubic interpolation. Other networks differ in the rule
for the size, ``ModelInfo.resize``, and in the interpolation. Sources of these facts:
``input_processor.py`` of Depth-Anything-3 for the longest side, ``augment.py`` of ultralytics for
the letterbox.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
from depth_anything_ros.arrays import AnyArray, F32, F64, Indices, U8
from depth_anything_ros.model_info import InputRule, ModelInfo
import numpy as np

_INTERPOLATIONS = {'cubic': cv2.INTER_CUBIC, 'linear': cv2.INTER_LINEAR, 'area': cv2.INTER_AREA}
# Of the result, so many rows at a time are computed while they are in the cache.
_ROWS_IN_CACHE = 120
# The grey of the borders of a letterbox.
_BORDER = 114


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
    return info.fixed_size_hw or rule_input_hw(info.input_rule, image_hw,
                                               input_size or info.input_size)


def rule_input_hw(rule: InputRule, image_hw: tuple[int, int],
                  input_size: int) -> tuple[int, int]:
    """Return (height, width) in pixels of a network's input by its rule; ValueError as above."""
    if rule.resize == 'shortest_side':
        network_hw = network_size(image_hw, input_size, rule.multiple)
    elif rule.resize == 'longest_side':
        network_hw = _longest_side_size(image_hw, input_size, rule.multiple)
    else:
        side = _to_multiple(input_size, input_size, rule.multiple)
        network_hw = (side, side)
    return _within_limits(network_hw, rule)


def _to_multiple(side: float, minimum: int, multiple: int) -> int:
    nearest = int(np.round(side / multiple)) * multiple
    if nearest < minimum:
        nearest = int(np.ceil(side / multiple)) * multiple
    return nearest


def _longest_side_size(image_hw: tuple[int, int], size: int, multiple: int) -> tuple[int, int]:
    """Return the size whose longer side is ``size``, in multiples; half of one is rounded up."""
    scale = size / max(image_hw)
    height, width = (
        max((round(side * scale) + multiple // 2) // multiple, 1) * multiple for side in image_hw)
    return height, width


def _within_limits(network_hw: tuple[int, int], rule: InputRule) -> tuple[int, int]:
    """Return the size made smaller, then larger, until its sides are within ``side_limits``."""
    if rule.side_limits is None:
        return network_hw
    multiple, (smallest, largest) = rule.multiple, rule.side_limits
    scale = min(1.0, largest / max(network_hw))
    height, width = (
        max(int(side * scale) // multiple, -(-smallest // multiple), 1) * multiple
        for side in network_hw)
    return height, width


def crop_to_aspect(image: U8, aspect_hw: tuple[int, int]) -> U8:
    """Return the largest centred view of [H, W, C] with the aspect ratio of ``aspect_hw``."""
    height, width = image.shape[:2]
    keep_height = min(height, max(1, round(width * aspect_hw[0] / aspect_hw[1])))
    keep_width = min(width, max(1, round(height * aspect_hw[1] / aspect_hw[0])))
    top, left = (height - keep_height) // 2, (width - keep_width) // 2
    return image[top:top + keep_height, left:left + keep_width]


def resize_for_network(image: U8, size_hw: tuple[int, int]) -> U8:
    """Resize an 8-bit image [H, W, C] to ``size_hw`` by cubic interpolation."""
    return cv2.resize(image, (size_hw[1], size_hw[0]),  # type: ignore[return-value]
                      interpolation=cv2.INTER_CUBIC)


@dataclass(frozen=True)
class Content:
    """The rectangle of a network's input that shows the image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def image_content(rule: InputRule, image_hw: tuple[int, int],
                  network_hw: tuple[int, int]) -> Content:
    """Return where a network's input of ``network_hw`` shows an image of ``image_hw``."""
    if rule.resize != 'letterbox':
        return Content(0, 0, *network_hw)
    scale = min(network / image for network, image in zip(network_hw, image_hw))
    height, width = (max(1, round(side * scale)) for side in image_hw)
    return Content((network_hw[0] - height) // 2, (network_hw[1] - width) // 2, height, width)


def network_image(image: U8, rule: InputRule, network_hw: tuple[int, int],
                  out: U8 | None = None) -> U8:
    """Return an 8-bit image [H, W, C] as the network sees it, of ``network_hw``, in ``out``."""
    content = image_content(rule, (image.shape[0], image.shape[1]), network_hw)
    size_hw = (content.height, content.width)
    enlarges = content.height > image.shape[0] or content.width > image.shape[1]
    interpolation = _INTERPOLATIONS[
        'cubic' if rule.interpolation == 'area' and enlarges else rule.interpolation]
    if size_hw == network_hw:
        return cv2.resize(image, (size_hw[1], size_hw[0]),  # type: ignore[return-value]
                          dst=out, interpolation=interpolation)
    if out is None:
        out = np.empty((*network_hw, *image.shape[2:]), np.uint8)
    out[...] = _BORDER
    out[content.top:content.top + content.height,
        content.left:content.left + content.width] = cv2.resize(
            image, (size_hw[1], size_hw[0]),
            interpolation=interpolation).reshape(*size_hw, *image.shape[2:])
    return out


def cut_borders(depth: F32, content: Content, network_hw: tuple[int, int]) -> F32:
    """
    Return the part of a network's map [H, W] that shows the image.

    Where the map is smaller than the input of ``network_hw``, its pixels are resampled so that
    their outer edges are those of the image.
    """
    if content == Content(0, 0, *network_hw):
        return depth
    if depth.shape == network_hw:
        return depth[content.top:content.top + content.height,
                     content.left:content.left + content.width].copy()
    rows, columns = (
        _cut_positions(start, length, size, network)
        for start, length, size, network in zip(
            (content.top, content.left), (content.height, content.width), depth.shape, network_hw))
    return resample_depth(depth, rows, columns)


def _cut_positions(start: int, length: int, size: int, network: int) -> F64:
    """Return the pixels of a map, as positions, at which the cut map is sampled along one axis."""
    ratio = size / network
    count = max(1, round(length * ratio))
    centres = start + (np.arange(count, dtype=np.float64) + 0.5) * (length / count)
    positions: F64 = centres * ratio - 0.5
    return positions


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
    """The pixel before each position, and the weight [N, 1] of the one after it."""

    before: Indices
    weight: F32


def _cells(positions: AnyArray, size: int) -> _Cells:
    inside = np.clip(positions, 0, size - 1)
    before = inside.astype(np.intp)
    return _Cells(before, (inside - before).astype(np.float32)[:, None])


def _interpolate(depth: F32, rows: _Cells, columns: _Cells) -> F32:
    # Whole rows are copied faster than pixels, so the columns become rows while the map is small.
    wide = _transposed(_interpolate_rows(_transposed(depth), columns))
    return _interpolate_rows(wide, rows)


def _transposed(values: F32) -> F32:
    """Return a transposed copy of [H, W]."""
    return cv2.transpose(values)  # type: ignore[return-value]


def _interpolate_rows(values: F32, cells: _Cells) -> F32:
    """Return the rows at the positions of ``cells``, [N, W] of [H, W]."""
    # Differences between the few rows of the network, not between the many of the result.
    steps = np.diff(values, axis=0, append=values[-1:])
    result = np.empty((len(cells.before), values.shape[1]), np.float32)
    for start in range(0, len(result), _ROWS_IN_CACHE):
        part = slice(start, start + _ROWS_IN_CACHE)
        before, rows = cells.before[part], result[part]
        # Another mode would copy ``out``; no index is outside.
        np.take(steps, before, axis=0, out=rows, mode='clip')
        rows *= cells.weight[part]
        rows += values[before]
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
