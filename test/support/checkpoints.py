"""Narrow stand-ins for the encoders, with random weights, that convert in seconds."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from depth_anything_ros.networks.models import (
    DA3_INPUT, EncoderSpec, HEAD_MULTIPLE, VIT_INPUT)
from loopback_hub import HubServer, running_hub
import pytest

TINY = EncoderSpec('tiny', 48, 5, 3, 16, (8, 12, 16, 24), (0, 1, 2, 4), 'Apache-2.0')
TINY_GLU = EncoderSpec('tiny_glu', 48, 4, 3, 16, (8, 12, 16, 24), (0, 1, 2, 3), 'unknown',
                       'swiglu')
# TINY with narrower feed-forward parts and a smaller output, as the student tiny is to vits.
TINY_LIGHT = EncoderSpec(
    'tiny_light', 48, 5, 3, 16, (8, 12, 16, 24), (0, 1, 2, 4), 'unknown',
    input_spec=replace(VIT_INPUT, size=56, output_multiple=HEAD_MULTIPLE), hidden=144)
# Version 3, which gives depth and sky.
TINY_V3 = replace(TINY, name='tiny_v3', is_v3=True, input_spec=replace(DA3_INPUT, size=112))
# A teacher, and a student that the distillation finds under its name.
FAMILY = (replace(TINY, name='small', input_spec=replace(VIT_INPUT, size=56)),
          replace(TINY_LIGHT, name='tiny'))
# The second size has 37 patches on one axis only: there the position embedding is interpolated.
PARITY_SIZES_HW = ((70, 98), (518, 42), (518, 518))
REFIT = Path(__file__).parents[3] / 'shared' / 'weights' / 'depth_anything_v2_vits_refit.pth'


def random_weights(spec: EncoderSpec, seed: int = 0) -> dict[str, Any]:
    """Return a state dict whose output is neither flat nor cut off by the last ReLU."""
    from depth_anything_ros.networks.depth_anything import DepthAnything
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, value in DepthAnything(spec, 'v2').state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith(('bias', 'cls_token', 'mask_token')):
            weights[name] = 0.1 * noise
        elif 'gamma' in name:
            weights[name] = 0.3 * (1 + 0.2 * noise)
        elif 'norm' in name:
            weights[name] = 1 + 0.2 * noise
        elif name.endswith('pos_embed'):
            weights[name] = 0.5 * noise
        else:
            weights[name] = noise / value[0].numel() ** 0.5
    last = 'depth_head.scratch.output_conv2.2'
    weights[f'{last}.weight'] = weights[f'{last}.weight'].abs()
    weights[f'{last}.bias'] = torch.full((1,), 0.1)
    return weights


def da3_weights(spec: EncoderSpec = TINY_V3, seed: int = 0) -> dict[str, Any]:
    """Return random weights of version 3 under the names of its published checkpoints."""
    return {name.replace('pretrained.', 'model.backbone.pretrained.', 1).replace(
        'depth_head.', 'model.head.', 1): value
        for name, value in random_weights(spec, seed).items()}


@pytest.fixture(scope='session')
def tiny() -> EncoderSpec:
    """Return a narrow encoder."""
    return TINY


@pytest.fixture(scope='session')
def tiny_light() -> EncoderSpec:
    """Return the same with narrower feed-forward parts and a smaller output."""
    return TINY_LIGHT


@pytest.fixture(scope='session')
def family() -> tuple[EncoderSpec, ...]:
    """Return a teacher and a student called tiny with the same encoder."""
    return FAMILY


@pytest.fixture(scope='session')
def table() -> tuple[EncoderSpec, ...]:
    """Return the table that the stand-ins are found in."""
    return TINY, TINY_GLU


@pytest.fixture(scope='session')
def make_weights() -> Callable[..., dict[str, Any]]:
    """Return a function that makes random weights."""
    return random_weights


@pytest.fixture
def save_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes random weights to a file of that name."""
    def save(name: str, spec: EncoderSpec = TINY) -> Path:
        import torch

        path = tmp_path / name
        torch.save(random_weights(spec), path)
        return path

    return save


def _silent(line: str) -> None:
    pass


def _require_converter() -> None:
    for package in ('torch', 'onnx', 'onnxscript', 'onnxruntime', 'openvino'):
        pytest.importorskip(package)


@pytest.fixture(scope='session')
def tiny_conversion(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[str]]:
    """
    Return the conversion of a relative V2 checkpoint into an IR in fp32, and what it reported.

    The checkpoint is ``mine.pth`` in the folder above that of the IR. Do not change the files.
    """
    _require_converter()
    from depth_anything_ros.convert.conversion import convert, Job
    from depth_anything_ros.convert.sources.identity import Overrides
    import torch

    folder = tmp_path_factory.mktemp('conversion')
    torch.save(random_weights(TINY), folder / 'mine.pth')
    lines: list[str] = []
    job = Job(folder / 'mine.pth', folder / 'out' / 'depth.xml', 'fp32',
              Overrides('relative', 'v2'))
    return convert(job, table=(TINY, TINY_GLU), sizes_hw=PARITY_SIZES_HW,
                   report=lines.append), lines


@pytest.fixture(scope='session')
def glu_export(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """
    Return the export of a metric V1 checkpoint with SwiGLU blocks, every size open.

    The checkpoint is ``mine.pth`` in the folder above that of the ONNX file, which has its
    weights in a second file. Do not change the files.
    """
    _require_converter()
    from depth_anything_ros.convert.conversion import export, ExportJob
    from depth_anything_ros.convert.sources.identity import Overrides
    import torch

    folder = tmp_path_factory.mktemp('export')
    torch.save(random_weights(TINY_GLU), folder / 'mine.pth')
    job = ExportJob(folder / 'mine.pth', folder / 'out' / 'depth.onnx',
                    overrides=Overrides('metric', 'v1', 20.0))
    return export(job, table=(TINY, TINY_GLU), sizes_hw=PARITY_SIZES_HW[:2], report=_silent)


@pytest.fixture(scope='session')
def glu_conversion(glu_export: Any,
                   tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[str]]:
    """
    Return the conversion of that ONNX file without any option, and what it reported.

    Do not change the files.
    """
    from depth_anything_ros.convert.conversion import convert, Job

    lines: list[str] = []
    output = tmp_path_factory.mktemp('glu') / 'depth.xml'
    return convert(Job(glu_export.path, output), sizes_hw=PARITY_SIZES_HW[:1],
                   report=lines.append), lines


@pytest.fixture(scope='session')
def refit_checkpoint() -> Path:
    """Return a real checkpoint, which is no part of the repository."""
    if not REFIT.is_file():
        pytest.skip(f'{REFIT} is not there')
    return REFIT


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """Start a hub without files, point HF_ENDPOINT at it and empty the client's cache."""
    constants = pytest.importorskip('huggingface_hub.constants')
    with running_hub() as server:
        monkeypatch.setenv('HF_ENDPOINT', f'{server.address}/')
        monkeypatch.delenv('HF_HUB_OFFLINE', raising=False)
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
        for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
            monkeypatch.delenv(name, raising=False)
        yield server
