"""A small network with the layers of ZipDepth, and their names, in the form that it exports."""

import torch
from torch import nn, Tensor
from torch.nn import functional

_CHANNELS = 8


class Block(nn.Module):
    """Three branches of a RepVGG block, fused into one convolution."""

    def __init__(self) -> None:
        super().__init__()
        wide, point = nn.Conv2d(_CHANNELS, _CHANNELS, 3), nn.Conv2d(_CHANNELS, _CHANNELS, 1)
        identity = torch.zeros_like(wide.weight)
        for channel in range(_CHANNELS):
            identity[channel, channel, 1, 1] = 1
        self.fused_conv = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1)
        self.fused_conv.weight.data = wide.weight + identity + functional.pad(
            point.weight, [1, 1, 1, 1])
        self.fused_conv.bias.data = wide.bias + point.bias

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.fused_conv(features))


class StripPooling(nn.Module):
    """A gate from the means of rows and of columns."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_conv = nn.Conv2d(_CHANNELS, _CHANNELS, 1, groups=_CHANNELS)

    def forward(self, features: Tensor) -> Tensor:
        strips = features.mean(3, keepdim=True) + features.mean(2, keepdim=True)
        return features * torch.sigmoid(self.gate_conv(strips))


class Encoder(nn.Module):
    """Half the size of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem_half = nn.Conv2d(3, _CHANNELS, 3, stride=2, padding=1)
        self.stage1 = nn.Sequential(Block(), StripPooling(), Block())

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.stage1(functional.relu(self.stem_half(image)))
        return features


class ConvexUpsample(nn.Module):
    """
    Each fine pixel is a mean of the 3x3 coarse ones around it.

    Without ``unfold`` it is a mean of the nearest one and the bilinear value.
    """

    def __init__(self, unfold: bool) -> None:
        super().__init__()
        self._unfold = unfold
        self.mask_pred = nn.Conv2d(_CHANNELS, 36 if unfold else 1, 1)

    def forward(self, features: Tensor, depth: Tensor) -> Tensor:
        count, _, rows, columns = depth.shape
        mask = self.mask_pred(features)
        if not self._unfold:
            near = functional.interpolate(depth, scale_factor=2.0)
            smooth = functional.interpolate(depth, scale_factor=2.0, mode='bilinear')
            alpha = torch.sigmoid(functional.interpolate(mask, scale_factor=2.0))
            return functional.relu(alpha * near + (1 - alpha) * smooth)
        mask = torch.softmax(mask.view(count, 9, 4, rows, columns), 1)
        padded = functional.pad(depth, (1, 1, 1, 1), mode='replicate')
        around = functional.unfold(padded, 3).view(count, 9, 1, rows, columns)
        fine = (mask * around).sum(1).view(count, 4, rows, columns)
        return functional.relu(functional.pixel_shuffle(fine, 2))


class Decoder(nn.Module):
    """Inverse depth of the image's size."""

    def __init__(self, unfold: bool) -> None:
        super().__init__()
        self.head_half = nn.Conv2d(_CHANNELS, 1, 3, padding=1)
        self.head_half.bias.data.fill_(1.0)
        self.convex_up = ConvexUpsample(unfold)

    def forward(self, features: Tensor) -> Tensor:
        depth: Tensor = self.convex_up(features, self.head_half(features))
        return depth


class ZipDepthStandIn(nn.Module):
    """RGB in 0..1, which it normalises itself, to inverse depth [N, 1, H, W]."""

    def __init__(self, unfold: bool) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder(unfold)
        self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        depth: Tensor = self.decoder(self.encoder((image - self.mean) / self.std))
        return depth
