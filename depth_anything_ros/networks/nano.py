"""
Depth Anything nano: an EfficientNet-Lite0 encoder and a light DPT head, one PyTorch module.

Source: the fusion of Ranftl et al., Vision Transformers for Dense Prediction (2021), from the
coarsest map to the finest, with fewer channels the finer it gets. One transformer block between
encoder and head relates all parts of the image, at 1/32 of its size.
"""

from collections.abc import Sequence

from depth_anything_ros.networks.dpt import ResidualConvUnit
from depth_anything_ros.networks.efficientnet_lite import EfficientNetLite
from depth_anything_ros.networks.models import NANO_INPUT
import torch
from torch import nn, Tensor
from torch.nn import functional

# Channels of the head at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image.
_FEATURES = (16, 32, 64, 64, 64)
_CONTEXT = 128
_HEADS = 4


class NanoDepth(nn.Module):
    """
    Image [N, 3, H, W], RGB, normalised, H and W multiples of 32, to inverse depth f32 [N, H, W].

    Up to scale and shift, larger is nearer, not negative.
    """

    input_spec = NANO_INPUT

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EfficientNetLite()
        self.head = NanoHead(self.encoder.widths)

    def forward(self, image: Tensor) -> Tensor:
        return functional.relu(self.unbounded(image))

    def unbounded(self, image: Tensor) -> Tensor:
        """Return the depth [N, H, W] before negative values become 0, for training."""
        depth: Tensor = self.head(self.encoder(image))
        return depth.squeeze(1)


class NanoHead(nn.Module):
    """Maps at 1/2 to 1/32 of the image to one map [N, 1, H, W]."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.context = Context(widths[-1], _CONTEXT, _HEADS)
        self.lateral = nn.ModuleList(
            nn.Conv2d(width, features, kernel_size=1)
            for width, features in zip((*widths[:-1], _CONTEXT), _FEATURES))
        self.fusions = nn.ModuleList(
            Fusion(features, finer) for features, finer in zip(_FEATURES[1:], _FEATURES))
        self.last = ResidualConvUnit(_FEATURES[0])
        self.output = nn.Conv2d(_FEATURES[0], 1, kernel_size=3, padding=1)
        nn.init.constant_(self.output.bias, 1.0)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        maps = [lateral(one) for lateral, one in zip(
            self.lateral, (*maps[:-1], self.context(maps[-1])))]
        path = maps[-1]
        for index in reversed(range(len(self.fusions))):
            path = self.fusions[index](path, maps[index])
        depth: Tensor = _twice(self.output(self.last(path)))
        return depth


class Context(nn.Module):
    """Self-attention: a map [N, C, H, W] to one [N, D, H, W] where each place uses all others."""

    def __init__(self, inputs: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.enter = nn.Conv2d(inputs, width, kernel_size=1)
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, path: Tensor) -> Tensor:
        path = self.enter(path)
        count, width, rows, columns = path.shape
        tokens = path.reshape(count, width, rows * columns).transpose(1, 2)
        tokens = tokens + self._attend(self.norm1(tokens))
        tokens = tokens + self.fc2(functional.gelu(self.fc1(self.norm2(tokens))))
        return tokens.transpose(1, 2).reshape(count, width, rows, columns)

    def _attend(self, tokens: Tensor) -> Tensor:
        count, length, width = tokens.shape
        qkv: Tensor = self.qkv(tokens)
        qkv = qkv.reshape(count, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scale = (width // self.heads) ** -0.5
        weights = torch.softmax((query * scale) @ key.transpose(-2, -1), dim=-1)
        mixed: Tensor = self.proj((weights @ value).transpose(1, 2).reshape(count, length, width))
        return mixed


class Fusion(nn.Module):
    """Refine the path, double its resolution, add the finer map."""

    def __init__(self, features: int, finer: int) -> None:
        super().__init__()
        self.path = ResidualConvUnit(features)
        self.out_conv = nn.Conv2d(features, finer, kernel_size=1)
        self.skip = ResidualConvUnit(finer)

    def forward(self, path: Tensor, skip: Tensor) -> Tensor:
        path = _twice(self.out_conv(self.path(path)))
        result: Tensor = path + self.skip(skip)
        return result


def _twice(path: Tensor) -> Tensor:
    return functional.interpolate(path, scale_factor=2, mode='bilinear', align_corners=False)
