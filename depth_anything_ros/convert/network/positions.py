"""
Position embedding for any size, in plain operators.

Source: the interpolation of DINOv2 as the reference code calls it: the table as it is at 37x37,
otherwise bicubic (a = -0.75, no antialiasing) with scale_factor = (n + 0.1) / 37 per axis. Cubic
interpolation is separable, so it is a product with one small matrix per axis; a runtime folds it
to a constant as soon as the size is known.
"""

from depth_anything_ros.convert.network.encoders import GRID
import torch
from torch import Tensor

_A = -0.75
_REACH = 2


def interpolate_positions(table: Tensor, rows: int, columns: int) -> Tensor:
    """
    Return position embeddings [1, 1 + rows * columns, D] from the table [1, 1 + 37 * 37, D].

    The first entry belongs to the class token and stays as it is.
    """
    width = table.shape[-1]
    unchanged = (_tensor(rows) == GRID) & (_tensor(columns) == GRID)
    vertical = _axis_weights(rows, unchanged)
    horizontal = _axis_weights(columns, unchanged)
    grid = table[0, 1:].reshape(GRID, GRID * width)
    grid = (vertical @ grid).reshape(rows, GRID, width)
    grid = (horizontal @ grid).reshape(1, rows * columns, width)
    return torch.cat([table[:, :1], grid], dim=1)


def _axis_weights(count: int, unchanged: Tensor) -> Tensor:
    """Return the weights [count, 37] of the table's entries along one axis."""
    index = torch.arange(count, dtype=torch.float32)[:, None]
    # (n + 0.1) / 37 written with integers, which stay exact in a file of 16-bit constants.
    scaled = (index + 0.5) * (10 * GRID) / (10 * _tensor(count) + 1) - 0.5
    source = torch.where(unchanged, index, scaled)
    taps = torch.arange(-_REACH, GRID + _REACH)
    replicate = (taps.clamp(0, GRID - 1)[:, None] == torch.arange(GRID)[None]).float()
    return _cubic(source - taps[None]) @ replicate


def _cubic(offset: Tensor) -> Tensor:
    """Return the cubic convolution kernel; exactly 1 at 0 and 0 at every other integer."""
    x = offset.abs()
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _tensor(size: int) -> Tensor:
    """Return a size as a tensor, so that comparing it stays in an exported graph."""
    return torch.ones(size).sum()
