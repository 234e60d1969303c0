"""The pixel grids of published maps, which need not be the image's."""

from dataclasses import dataclass

from depth_anything_ros.vision.transforms import resample_depth
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """
    Pixels over the view of an image: pixel u of the image is pixel scale * u + offset here.

    ``scale_xy`` and ``offset_xy`` are in pixels, for columns and rows.
    """

    size_hw: tuple[int, int]
    scale_xy: tuple[float, float] = (1.0, 1.0)
    offset_xy: tuple[float, float] = (0.0, 0.0)


def output_grid(output_size: str, divisor: int, image_hw: tuple[int, int],
                network_hw: tuple[int, int]) -> Grid:
    """
    Return the grid of an image (input), of the network's output (native) or of a smaller image.

    The network's corner pixels lie on the image's corner pixels. A divided grid has the pixel
    edges of the image, as every resize of an image has; a remainder of the division is spread
    over all pixels.
    """
    if output_size == 'native':
        rows, columns = ((network - 1) / max(image - 1, 1)
                         for network, image in zip(network_hw, image_hw))
        return Grid(network_hw, (columns, rows))
    if output_size == 'input' or divisor == 1:
        return Grid(image_hw)
    height, width = (max(1, side // divisor) for side in image_hw)
    rows, columns = height / image_hw[0], width / image_hw[1]
    return Grid((height, width), (columns, rows), (columns / 2 - 0.5, rows / 2 - 0.5))


def depth_on_grid(depth: F32, image_hw: tuple[int, int], grid: Grid) -> F32:
    """Return the network's map [H, W] on ``grid`` over an image of ``image_hw``, bilinearly."""
    if grid.size_hw == depth.shape and (
            grid == output_grid('native', 1, image_hw, depth.shape)):
        return depth
    rows, columns = (
        (np.arange(size) - offset) / scale * ((network - 1) / max(image - 1, 1))
        for size, offset, scale, network, image in zip(
            grid.size_hw, grid.offset_xy[::-1], grid.scale_xy[::-1], depth.shape, image_hw))
    return resample_depth(depth, rows, columns)
