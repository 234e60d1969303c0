"""
The EfficientNet-Lite0 encoder: no squeeze-and-excitation, ReLU6 everywhere.

Source: Tan and Le, EfficientNet (2019), and the Lite variants that were published with its
reference code in 2020: the stem is not scaled, ReLU6 bounds the values to quantize.
"""

from dataclasses import dataclass
import math

from depth_anything_ros.networks.drop_path import DropPath
import torch
from torch import nn, Tensor
from torch.nn import functional

_STEM = 32


@dataclass(frozen=True)
class Stage:
    """Blocks of the same width; the first one applies the stride."""

    blocks: int
    width: int
    kernel: int
    stride: int
    expansion: int


LITE0 = (Stage(1, 16, 3, 1, 1), Stage(2, 24, 3, 2, 6), Stage(2, 40, 5, 2, 6),
         Stage(3, 80, 3, 2, 6), Stage(3, 112, 5, 1, 6), Stage(4, 192, 5, 2, 6),
         Stage(1, 320, 3, 1, 6))


class EfficientNetLite(nn.Module):
    """
    Image [N, 3, H, W], H and W multiples of 32, to one map per stride 2, 4, 8, 16 and 32.

    ``widths`` are the channels of these maps.
    """

    def __init__(self, stages: tuple[Stage, ...] = LITE0) -> None:
        super().__init__()
        self.stem = NormalizedConv(3, _STEM, 3, stride=2)
        blocks: list[InvertedResidual] = []
        # The map of a stride is the output of the last block before the next stride.
        last_of_stride, width = [], _STEM
        for stage in stages:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                if stride == 2:
                    last_of_stride.append(len(blocks) - 1)
                blocks.append(InvertedResidual(width, stage, stride))
                width = stage.width
        self.blocks = nn.ModuleList(blocks)
        self._outputs = (*last_of_stride, len(blocks) - 1)
        self.widths = tuple(blocks[index].width for index in self._outputs)

    def forward(self, image: Tensor) -> list[Tensor]:
        path: Tensor = functional.relu6(self.stem(image), inplace=True)
        maps = []
        for index, block in enumerate(self.blocks):
            path = block(path)
            if index in self._outputs:
                maps.append(path)
        return maps


class InvertedResidual(nn.Module):
    """Widen, filter each channel alone, narrow; the input is added where the shapes agree."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        self.width = stage.width
        self.expand = NormalizedConv(inputs, inner, 1) if stage.expansion > 1 else None
        self.depthwise = NormalizedConv(inner, inner, stage.kernel, stride, groups=inner)
        self.project = NormalizedConv(inner, stage.width, 1)
        self.drop = DropPath() if stride == 1 and inputs == stage.width else None

    def forward(self, path: Tensor) -> Tensor:
        # In place: a training step fills a quarter less memory.
        inner = path if self.expand is None else functional.relu6(self.expand(path), inplace=True)
        filtered = functional.relu6(self.depthwise(inner), inplace=True)
        result: Tensor = self.project(filtered)
        return result if self.drop is None else path + self.drop(result)


class NormalizedConv(nn.Module):
    """
    A convolution with batch normalisation folded into a ``scale`` per output and a bias.

    The statistics of ImageNet are not updated: small batches of strongly augmented images would
    spoil them, and scaling the weights costs nothing. Padding follows the reference code: with
    stride 2, right and bottom get the larger part.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1,
                 groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.scale = nn.Parameter(torch.ones(outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.normal_(self.weight, std=math.sqrt(2 * groups / (kernel * kernel * outputs)))
        self._stride, self._groups = stride, groups
        self._same = (kernel - 1) // 2
        before = (kernel - stride) // 2
        self._uneven = (before, kernel - stride - before) * 2

    def forward(self, path: Tensor) -> Tensor:
        weight = self.weight * self.scale[:, None, None, None]
        if self._stride == 1:
            return functional.conv2d(path, weight, self.bias, padding=self._same,
                                     groups=self._groups)
        path = functional.pad(path, self._uneven)
        return functional.conv2d(path, weight, self.bias, self._stride, groups=self._groups)
