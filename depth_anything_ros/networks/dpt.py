"""
The DPT head of Depth Anything, with the attribute names of the official state dicts.

Source: Ranftl et al., Vision Transformers for Dense Prediction (2021).
"""

from collections.abc import Sequence

from depth_anything_ros.model_info import Kind
from depth_anything_ros.networks.models import EncoderSpec, HEAD_MULTIPLE, PATCH
import torch
from torch import nn, Tensor
from torch.nn import functional

_OUTPUT_WIDTH = 32


class DptHead(nn.Module):
    """
    Four token maps [N, rows * columns, D] to one map [N, 1, H, W], not negative.

    It has the size of the image, or ends at the finest grid of the head where the input of
    ``spec`` has an ``output_multiple``. In version 3 a second map, sky, is returned beside it.
    """

    def __init__(self, spec: EncoderSpec, kind: Kind) -> None:
        super().__init__()
        if spec.input_spec.output_multiple not in (None, HEAD_MULTIPLE):
            raise ValueError(f'the head of {spec.name} ends at {HEAD_MULTIPLE} cells per patch')
        first, second, third, fourth = spec.out_channels
        self.projects = nn.ModuleList(
            nn.Conv2d(spec.width, channels, kernel_size=1) for channels in spec.out_channels)
        self.resize_layers = nn.ModuleList([
            nn.ConvTranspose2d(first, first, kernel_size=4, stride=4),
            nn.ConvTranspose2d(second, second, kernel_size=2, stride=2),
            nn.Identity(),
            nn.Conv2d(fourth, fourth, kernel_size=3, stride=2, padding=1)])
        self._ends_at_grid = spec.input_spec.output_multiple is not None
        self.scratch = Scratch(spec, kind)
        if spec.has_frame_fit:
            self.frame_fit = FrameFit(len(spec.out_channels) * spec.width)

    def forward(self, tokens: Sequence[Tensor], rows: int, columns: int) -> tuple[Tensor, ...]:
        count, _, width = tokens[0].shape
        maps = [
            resize(project(one.transpose(1, 2).reshape(count, width, rows, columns)))
            for one, project, resize in zip(tokens, self.projects, self.resize_layers)]
        size_hw = None if self._ends_at_grid else (PATCH * rows, PATCH * columns)
        found: tuple[Tensor, ...] = self.scratch(maps, size_hw)
        if hasattr(self, 'frame_fit'):
            found = self.frame_fit(found[0], mean_tokens(tokens)), *found[1:]
        return found


class Scratch(nn.Module):
    """Four maps of falling resolution, fused from the coarsest to the finest."""

    def __init__(self, spec: EncoderSpec, kind: Kind) -> None:
        super().__init__()
        features, channels = spec.features, spec.out_channels
        self.layer1_rn = _conv3(channels[0], features, bias=False)
        self.layer2_rn = _conv3(channels[1], features, bias=False)
        self.layer3_rn = _conv3(channels[2], features, bias=False)
        self.layer4_rn = _conv3(channels[3], features, bias=False)
        self.refinenet1 = FeatureFusion(features)
        self.refinenet2 = FeatureFusion(features)
        self.refinenet3 = FeatureFusion(features)
        self.refinenet4 = FeatureFusion(features, has_skip=not spec.is_v3)
        self.output_conv1 = _conv3(features, features // 2)
        last = Inverse() if spec.is_v3 else nn.ReLU() if kind == 'relative' else nn.Sigmoid()
        self.output_conv2 = _output(features, last)
        if spec.is_v3:
            self.sky_output_conv2 = _output(features, nn.ReLU())

    def forward(self, maps: Sequence[Tensor], size_hw: tuple[int, int] | None
                ) -> tuple[Tensor, ...]:
        """Return maps of ``size_hw``, None for twice the size of the first of ``maps``."""
        first, second, third, fourth = (
            self.layer1_rn(maps[0]), self.layer2_rn(maps[1]),
            self.layer3_rn(maps[2]), self.layer4_rn(maps[3]))
        path = self.refinenet4(fourth, None, _size(third))
        path = self.refinenet3(path, third, _size(second))
        path = self.refinenet2(path, second, _size(first))
        height, width = _size(first)
        path = self.refinenet1(path, first, (2 * height, 2 * width))
        last = self.output_conv1(path)
        last = last if size_hw is None else _resize(last, size_hw)
        depth = self.output_conv2(last)
        return (depth, self.sky_output_conv2(last)) if hasattr(self, 'sky_output_conv2') else (
            depth,)


class FrameFit(nn.Module):
    """Scales and shifts each map [N, 1, H, W] by two numbers that its mean tokens [N, D] give."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 2)

    def forward(self, depth: Tensor, tokens: Tensor) -> Tensor:
        log_scale, shift = self.linear(tokens)[:, :, None, None].split(1, dim=1)
        fitted = depth * log_scale.exp() + shift
        # In training negative values keep their gradient.
        return fitted if self.training else functional.relu(fitted)


def mean_tokens(tokens: Sequence[Tensor]) -> Tensor:
    """Return the means of the token maps [N, T, D] that the head reads, one after the other."""
    return torch.cat([one.mean(dim=1) for one in tokens], dim=-1)


class Inverse(nn.Module):
    """The logarithm of depth to inverse depth."""

    def forward(self, log_depth: Tensor) -> Tensor:
        return (-log_depth).exp()


class FeatureFusion(nn.Module):
    """Add a skip map to the path, refine, resize."""

    def __init__(self, features: int, has_skip: bool = True) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, kernel_size=1)
        # The coarsest level has no skip map; before version 3 its state dict has the tensors.
        if has_skip:
            self.resConfUnit1 = ResidualConvUnit(features)
        self.resConfUnit2 = ResidualConvUnit(features)

    def forward(self, path: Tensor, skip: Tensor | None, size_hw: tuple[int, int]) -> Tensor:
        if skip is not None:
            path = path + self.resConfUnit1(skip)
        result: Tensor = self.out_conv(_resize(self.resConfUnit2(path), size_hw))
        return result


class ResidualConvUnit(nn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = _conv3(features, features)
        self.conv2 = _conv3(features, features)

    def forward(self, path: Tensor) -> Tensor:
        inner = self.conv1(functional.relu(path))
        result: Tensor = path + self.conv2(functional.relu(inner))
        return result


def _output(features: int, last: nn.Module) -> nn.Sequential:
    return nn.Sequential(_conv3(features // 2, _OUTPUT_WIDTH), nn.ReLU(),
                         nn.Conv2d(_OUTPUT_WIDTH, 1, kernel_size=1), last)


def _conv3(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=bias)


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


def _resize(image: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return functional.interpolate(image, size=size_hw, mode='bilinear', align_corners=True)
