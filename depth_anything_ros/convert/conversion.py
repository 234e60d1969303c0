"""The whole way from a checkpoint to a proven IR."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
import time

from depth_anything_ros import __version__
from depth_anything_ros.convert.checkpoints import Checkpoint, read_checkpoint
from depth_anything_ros.convert.encoders import (
    ENCODERS, EncoderSpec, find_encoder, INPUT_SIZE, MEAN_RGB, PATCH, STD_RGB)
from depth_anything_ros.convert.export import export_ir, export_onnx
from depth_anything_ros.convert.network import build_network, DepthAnything
from depth_anything_ros.convert.parity import (
    card_input, Gates, measure, ParityReport, run_torch, SIZES_HW)
from depth_anything_ros.convert.staging import check_target, publish, staged
from depth_anything_ros.convert.variants import Asked, settle_variant, Variant
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import ModelInfo, Precision, SelfCheck
from depth_anything_ros.vision.selfcheck import CARD_SIZE_HW, describe

_LAYOUT = 'give a Depth Anything V1 or V2 checkpoint in the official layout (.pth), not one of ' \
    'the -hf repositories or of another network'
_STEPS = 6
# An ONNX file in f32 and an IR that is at most as large, and some air.
_SPACE_FACTOR = 2.2
# Rounding in f32 alone makes that much of a constant.
_FLAT = 1e-5

Report = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What to convert into what."""

    checkpoint: Path
    output: Path
    precision: Precision = 'fp16'
    asked: Asked = field(default_factory=Asked)
    overwrite: bool = False


@dataclass(frozen=True)
class Conversion:
    """A finished IR: its .xml, what it says about itself and how it was proven."""

    path: Path
    info: ModelInfo
    parity: ParityReport


def convert(job: Job, *, table: tuple[EncoderSpec, ...] = ENCODERS,
            sizes_hw: Sequence[tuple[int, int]] = SIZES_HW, gates: Gates | None = None,
            report: Report = print) -> Conversion:
    """
    Write the IR of a checkpoint, prove it against PyTorch and return what was measured.

    CheckpointError, ParityError or OSError leave no file behind.
    """
    check_target(job.output, job.overwrite)
    with _step(report, 1, f'reading {job.checkpoint}'):
        checkpoint = read_checkpoint(job.checkpoint)
        spec = _identify(checkpoint, table)
        variant = settle_variant(checkpoint.path, checkpoint.sha256, spec, job.asked)
    report('\n'.join(f'      {line}' for line in variant.origins))
    with _step(report, 2, 'running the test card through PyTorch in f32'):
        network = _build(checkpoint, spec, variant)
        info = _describe(job, checkpoint, spec, variant, _self_check(checkpoint, network))
    with staged(job.output, int(_SPACE_FACTOR * checkpoint.size_bytes)) as folder:
        onnx_path, xml_path = folder / 'model.onnx', folder / 'model.xml'
        with _step(report, 3, 'PyTorch to ONNX'):
            export_onnx(network, onnx_path)
        with _step(report, 4, f'ONNX to an OpenVINO IR with {job.precision} weights'):
            export_ir(onnx_path, xml_path, info)
        with _step(report, 5, f'comparing the files with PyTorch at {len(sizes_hw)} sizes'):
            parity = measure(network, onnx_path, xml_path, job.precision, sizes_hw, gates)
        report(parity.table())
        parity.require()
        with _step(report, _STEPS, f'moving it to {job.output}'):
            publish(xml_path, job.output)
    return Conversion(job.output, info, parity)


@contextmanager
def _step(report: Report, number: int, text: str) -> Iterator[None]:
    report(f'[{number}/{_STEPS}] {text}')
    start = time.monotonic()
    yield
    report(f'      {time.monotonic() - start:.1f} s')


def _identify(checkpoint: Checkpoint, table: tuple[EncoderSpec, ...]) -> EncoderSpec:
    try:
        return find_encoder(checkpoint.shapes, table)
    except ValueError as error:
        keys = ', '.join(list(checkpoint.state_dict)[:3])
        raise CheckpointError(
            checkpoint.path, f'it is not a Depth Anything checkpoint that can be converted: '
            f'{error} (it starts with {keys})', _LAYOUT) from error


def _build(checkpoint: Checkpoint, spec: EncoderSpec, variant: Variant) -> DepthAnything:
    try:
        return build_network(spec, variant.model_version, variant.max_depth_m,
                             checkpoint.state_dict)
    except ValueError as error:
        raise CheckpointError(
            checkpoint.path, f'its tensors are not those of {spec.name} ({error})',
            _LAYOUT) from error


def _self_check(checkpoint: Checkpoint, network: DepthAnything) -> SelfCheck:
    output = run_torch(network, card_input(CARD_SIZE_HW))
    try:
        check = describe(output)
    except ValueError as error:
        raise CheckpointError(checkpoint.path, f'its depth is no finite number ({error})',
                              'download or train it again') from error
    if check.std <= _FLAT * abs(output).max():
        raise CheckpointError(
            checkpoint.path, 'it gives the same depth everywhere, as untrained weights do',
            'download or train it again')
    return check


def _describe(job: Job, checkpoint: Checkpoint, spec: EncoderSpec, variant: Variant,
              check: SelfCheck) -> ModelInfo:
    return ModelInfo(
        encoder=spec.name, kind=variant.kind, model_version=variant.model_version,
        max_depth_m=variant.max_depth_m, patch_multiple=PATCH, mean_rgb=MEAN_RGB,
        std_rgb=STD_RGB, input_size=INPUT_SIZE, source_name=variant.source_name,
        source_sha256=checkpoint.sha256, licence=variant.licence, precision=job.precision,
        converter_version=__version__, self_check=check)
