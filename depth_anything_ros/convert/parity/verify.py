"""Verifies an IR: its source against it, a device against the CPU, and its self-check."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.convert.parity.measure import (
    card_input, compare, compare_sky, conversion_limits, DEVICE_LIMITS, Limits, ParityRow)
from depth_anything_ros.convert.parity.runners import ir_runner, onnx_runner, Runner, torch_runner
from depth_anything_ros.convert.sources.description import Description, from_text
from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.convert.sources.onnx_files import read_onnx_file
from depth_anything_ros.convert.sources.records import sha256_of
from depth_anything_ros.errors import CheckpointError, ModelError
from depth_anything_ros.inference.devices import (
    compile_options, execution_summary, is_available, open_core)
from depth_anything_ros.inference.ir import (
    check_ir_files, error_reason, read_ir, read_model, static_copy)
from depth_anything_ros.model_info import ExecutionPrecision, LARGEST_SIDE, ModelInfo
from depth_anything_ros.networks.models import EncoderSpec, InputSpec, MODELS
from depth_anything_ros.vision.self_check import deviation
import numpy as np

if TYPE_CHECKING:
    import openvino


@dataclass(frozen=True)
class Verification:
    """All comparisons; ``precision`` is that of the execution, ``notes`` are for people."""

    path: str
    device: str
    precision: str
    checks: tuple[ParityRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """Return PASS, or FAIL with the comparisons that failed."""
        failed = [f'{check.name} at {check.size_hw[1]}x{check.size_hw[0]}'
                  for check in self.checks if not check.passed]
        return f'FAIL: {", ".join(failed)}' if failed else 'PASS'


def verify(path: Path, *, source: Path | None = None, device: str = 'CPU',
           precision: ExecutionPrecision = 'auto', sizes_hw: Sequence[tuple[int, int]] = (),
           table: tuple[EncoderSpec, ...] = MODELS) -> Verification:
    """
    Compare an IR in f32 on the CPU with its source, the device with that, and the self-check.

    Without ``sizes_hw`` two usual sizes are compared, or the only size of the IR. ModelError if
    the IR, a size or the device cannot be used, CheckpointError if the source cannot.
    """
    core = open_core()
    model, info = read_model(core, path)
    if not is_available(core, device):
        raise ModelError(path, f'OpenVINO sees no device {device}',
                         f'use one of {", ".join(core.available_devices)}, or install the driver')
    reference, notes = _open_source(path, source, info, table) if source else (None, ())
    input_spec = InputSpec.from_info(info)
    checks, runs_as = [], ''
    for size_hw in _sizes(path, info, sizes_hw):
        image = card_input(size_hw, input_spec)
        on_cpu, _ = _run(core, model, path, 'CPU', 'f32', image)
        if reference is not None:
            expected = [run(image) for run in (reference.run, reference.run_sky) if run]
            checks += _compare_maps(f'CPU f32 against {reference.backend}', size_hw, on_cpu,
                                    expected, _source_limits(info), info)
        on_device, runs_as = _run(core, model, path, device, precision, image)
        checks += _compare_maps(f'{device} {runs_as} against CPU f32', size_hw, on_device, on_cpu,
                                DEVICE_LIMITS, info)
    own = info.self_check
    answer, _ = _run(core, model, path, device, precision, card_input(own.size_hw, input_spec))
    error = deviation(own, answer[0], info.output_hw(own.size_hw))
    checks.append(ParityRow(f'{device} {runs_as} against the self-check', own.size_hw,
                            Limits(mean_error=DEVICE_LIMITS.mean_error),
                            mean_error=error if np.isfinite(error) else None))
    return Verification(str(path), device, runs_as, tuple(checks), notes)


def _compare_maps(name: str, size_hw: tuple[int, int], found: Sequence[F32],
                  expected: Sequence[F32], limits: Limits, info: ModelInfo) -> list[ParityRow]:
    """Compare the depth, and the sky of a model that has it."""
    rows = [compare(name, size_hw, found[0], expected[0], limits, info)]
    if info.sky_threshold is not None:
        rows += [compare_sky(name, size_hw, found[1], sky, limits) for sky in expected[1:]]
    return rows


def _open_source(model: Path, path: Path, info: ModelInfo,
                 table: tuple[EncoderSpec, ...]) -> tuple[Runner, tuple[str, ...]]:
    """
    Return the source at ``path`` as a reference for the IR ``model``, and notes for people.

    Kind, version and range are those of the IR. CheckpointError if the source cannot be used.
    """
    if path.suffix == '.onnx':
        onnx = read_onnx_file(path)
        runner = onnx_runner(path, None if onnx.info else _description(model, info))
        sha256 = sha256_of(onnx.files)
    elif path.suffix == '.xml':
        # The source may be such an IR itself, whose outputs are those of its description already.
        own = read_ir(open_core(), path)[1]
        runner = ir_runner(path, None if own else _description(model, info))
        sha256 = sha256_of(check_ir_files(path))
    else:
        from depth_anything_ros.convert.sources.load_network import load_network
        loaded = load_network(
            path, Overrides(info.kind, info.model_version, info.max_depth_m, focal_px=(
                info.focal_px or 0.0) if info.model_version == 'v3' else None), table)
        if loaded.identity.encoder != info.encoder:
            raise CheckpointError(
                path, f'it is {loaded.identity.encoder} and the IR is {info.encoder}',
                'give the checkpoint that the IR was made from')
        runner, sha256 = torch_runner(loaded.network), loaded.checkpoint.sha256
    if sha256 == info.source_sha256:
        return runner, ()
    return runner, (f'the IR was made from another file: its sha256 is {info.source_sha256}, '
                    f'that of {path} is {sha256}',)


def _description(path: Path, info: ModelInfo) -> Description | None:
    return from_text(path, info.description) if info.description else None


def _source_limits(info: ModelInfo) -> Limits:
    """Return the limits of a conversion; for INT8, which is not exact, those of a device."""
    return DEVICE_LIMITS if info.precision == 'int8' else (
        conversion_limits(info.precision)['OpenVINO'])


def _sizes(path: Path, info: ModelInfo,
           wanted: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    fixed = info.fixed_size_hw
    if fixed is not None:
        if any(size_hw != fixed for size_hw in wanted):
            raise ModelError(path, f'its input is {fixed[1]}x{fixed[0]} only',
                             'leave out --sizes')
        return (fixed,)
    for height, width in wanted:
        if height < 1 or width < 1 or height % info.patch_multiple or width % info.patch_multiple:
            raise ModelError(path, f'the sides of {width}x{height} are not multiples of '
                             f'{info.patch_multiple}', 'give other --sizes')
        if max(height, width) > LARGEST_SIDE:
            raise ModelError(path, f'a side of {width}x{height} has more than {LARGEST_SIDE} '
                             'pixels', 'give smaller --sizes')
    return wanted or tuple(dict.fromkeys(InputSpec.from_info(info).sizes_hw[:2]))


def _run(core: 'openvino.Core', model: 'openvino.Model', path: Path, device: str,
         precision: ExecutionPrecision, image: F32) -> tuple[list[F32], str]:
    """Return depth, and sky, [H, W] of an image [1, 3, H, W] and the precision that ran."""
    try:
        compiled = core.compile_model(static_copy(model, image.shape), device,
                                      compile_options(core, device, precision))
        maps = [values[0].astype(np.float32) for values in compiled([image]).values()]
    except RuntimeError as error:
        raise ModelError(
            path, f'{device} cannot run it at {image.shape[3]}x{image.shape[2]} '
            f'({error_reason(error)})', 'use another device, precision or size') from error
    return maps, execution_summary(compiled)[1]
