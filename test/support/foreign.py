"""
Small stand-ins for the networks of others, with random weights, as ONNX files.

They have the features of the originals that matter to a converter: names of layers, opset, fused
RepVGG convolutions, unfold and convex upsampling, normalisation inside, several outputs.
"""

from pathlib import Path
from typing import Any

import numpy as np

# What a YAML file says on a network that gives inverse depth of RGB in 0..1.
FACTS: dict[str, Any] = {
    'output': 'inverse_depth', 'metres': False, 'resize': 'shortest_side', 'color': 'rgb',
    'mean': [0.0, 0.0, 0.0], 'std': [1.0, 1.0, 1.0], 'multiple': 16, 'size': 64}
# What each output of ``write_network`` is of the image in 0..1: a positive sum of its channels.
CHANNEL_WEIGHTS = (1.0, 2.0, 4.0)


def write_zipdepth(path: Path, size_hw: tuple[int, int], *, unfold: bool = True) -> Path:
    """Write a network like ZipDepth as its exporter does: fused, of one size, opset 17."""
    import torch
    from torch import nn, Tensor
    from torch.nn import functional

    class Block(nn.Module):
        """Three branches of a RepVGG block, fused into one convolution."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            wide = nn.Conv2d(channels, channels, 3, padding=1)
            point = nn.Conv2d(channels, channels, 1)
            identity = torch.zeros_like(wide.weight)
            for channel in range(channels):
                identity[channel, channel, 1, 1] = 1
            self.fused_conv = nn.Conv2d(channels, channels, 3, padding=1)
            self.fused_conv.weight.data = wide.weight + identity + functional.pad(
                point.weight, [1, 1, 1, 1])
            self.fused_conv.bias.data = wide.bias + point.bias

        def forward(self, features: Tensor) -> Tensor:
            return functional.relu(self.fused_conv(features))

    class StripPooling(nn.Module):
        """A gate from the means of rows and of columns."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.gate_conv = nn.Conv2d(channels, channels, 1, groups=channels)

        def forward(self, features: Tensor) -> Tensor:
            strips = features.mean(3, keepdim=True) + features.mean(2, keepdim=True)
            return features * torch.sigmoid(self.gate_conv(strips))

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem_half = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.stage1 = nn.Sequential(Block(8), StripPooling(8), Block(8))

        def forward(self, image: Tensor) -> Tensor:
            features: Tensor = self.stage1(functional.relu(self.stem_half(image)))
            return features

    class ConvexUpsample(nn.Module):
        """Each fine pixel is a mean of 3x3 coarse ones, or of the nearest and the bilinear one."""

        def __init__(self) -> None:
            super().__init__()
            self.mask_pred = nn.Conv2d(8, 36 if unfold else 1, 1)

        def forward(self, features: Tensor, depth: Tensor) -> Tensor:
            count, _, rows, columns = depth.shape
            mask = self.mask_pred(features)
            if not unfold:
                near, smooth, alpha = (
                    functional.interpolate(depth, scale_factor=2.0),
                    functional.interpolate(depth, scale_factor=2.0, mode='bilinear'),
                    torch.sigmoid(functional.interpolate(mask, scale_factor=2.0)))
                return functional.relu(alpha * near + (1 - alpha) * smooth)
            mask = torch.softmax(mask.view(count, 9, 4, rows, columns), 1)
            padded = functional.pad(depth, (1, 1, 1, 1), mode='replicate')
            around = functional.unfold(padded, 3).view(count, 9, 1, rows, columns)
            fine = (mask * around).sum(1).view(count, 4, rows, columns)
            return functional.relu(functional.pixel_shuffle(fine, 2))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head_half = nn.Conv2d(8, 1, 3, padding=1)
            self.head_half.bias.data.fill_(1.0)
            self.convex_up = ConvexUpsample()

        def forward(self, features: Tensor) -> Tensor:
            depth: Tensor = self.convex_up(features, self.head_half(features))
            return depth

    class ZipDepth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = Encoder(), Decoder()
            self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
            self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

        def forward(self, image: Tensor) -> Tensor:
            depth: Tensor = self.decoder(self.encoder((image - self.mean) / self.std))
            return depth

    torch.manual_seed(3)
    network = ZipDepth().eval()
    torch.onnx.export(network, (torch.rand(1, 3, *size_hw),), path, dynamo=True, verbose=False,
                      input_names=['image'], output_names=['depth'], opset_version=18,
                      external_data=False)
    return path


def write_network(path: Path, outputs: dict[str, str], *,
                  shape: tuple[Any, ...] = (1, 3, 'h', 'w'), stride: int = 1, properties: dict[str, str] | None = None,
                  given: str = 'image', constants: tuple[str, ...] = (),
                  opset: int = 17) -> Path:
    """
    Write a network whose outputs are functions of s, R + 2 G + 4 B of its input.

    ``outputs`` maps their names to: linear (s + 1), exp (e^(s - 3)), log (s - 3), step (1 where
    s < 1), points ([N, H, W, 3]), number (one value). Maps are [N, 1, H / stride, W / stride].
    Each name in ``constants`` is an int64 input that multiplies s.
    """
    import onnx

    helper = onnx.helper
    stored: list[Any] = []

    def constant(name: str, values: np.ndarray) -> str:
        stored.append(onnx.numpy_helper.from_array(values, name))
        return name

    kernel = constant('kernel', np.repeat(np.repeat(
        np.float32(CHANNEL_WEIGHTS).reshape(1, 3, 1, 1) / stride ** 2, stride, 2), stride, 3))
    nodes = [helper.make_node('Conv', [given, kernel], ['sum'], strides=[stride, stride])]
    for name in constants:
        nodes += [helper.make_node('Cast', [name], [f'{name}_f'], to=1),
                  helper.make_node('Mul', ['sum', f'{name}_f'], [f'sum_{name}'])]
        nodes.append(helper.make_node('Identity', [f'sum_{name}'], ['s']))
    if not constants:
        nodes.append(helper.make_node('Identity', ['sum'], ['s']))
    one, three = constant('one', np.float32([1])), constant('three', np.float32([3]))
    for name, what in outputs.items():
        if what == 'linear':
            nodes.append(helper.make_node('Add', ['s', one], [name]))
        elif what == 'log':
            nodes.append(helper.make_node('Sub', ['s', three], [name]))
        elif what == 'exp':
            nodes += [helper.make_node('Sub', ['s', three], [f'{name}_log']),
                      helper.make_node('Exp', [f'{name}_log'], [name])]
        elif what == 'step':
            nodes += [helper.make_node('Less', ['s', one], [f'{name}_is']),
                      helper.make_node('Cast', [f'{name}_is'], [name], to=1)]
        elif what == 'points':
            nodes += [helper.make_node('Concat', ['s', 's', 's'], [f'{name}_c'], axis=1),
                      helper.make_node('Transpose', [f'{name}_c'], [name], perm=[0, 2, 3, 1])]
        else:
            nodes.append(helper.make_node('ReduceMean', ['s'], [name], axes=[0, 1, 2, 3],
                                          keepdims=0))
    inputs = [helper.make_tensor_value_info(given, onnx.TensorProto.FLOAT, shape)]
    inputs += [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [])
               for name in constants]
    graph = helper.make_graph(
        nodes, 'stand-in', inputs, [helper.make_tensor_value_info(
            name, onnx.TensorProto.FLOAT, None) for name in outputs], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=9)
    helper.set_model_props(model, properties or {})
    onnx.save(model, path)
    return path


def sum_of(image_bgr: np.ndarray) -> np.ndarray:
    """Return R + 2 G + 4 B in 0..7 of an 8-bit BGR image, the s of ``write_network``."""
    return (image_bgr[..., ::-1].astype(np.float32) / 255) @ np.float32(CHANNEL_WEIGHTS)


def write_facts(path: Path, **changes: Any) -> Path:
    """Write ``FACTS`` with changes as YAML; None removes a fact."""
    import yaml

    facts = {name: value for name, value in {**FACTS, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(facts), encoding='utf-8')
    return path
