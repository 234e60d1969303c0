"""Whether an IR computes what it should: against its source, on a device, on its self-check."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.convert.parity.limits import DEVICE_LIMITS, Limits
from depth_anything_ros.errors import ModelError
from depth_anything_ros.inference.ir import check_ir_files, read_ir_info
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.networks.models import InputSpec, MODELS, ModelSpec
from depth_anything_ros.vision.agreement import agreement
from depth_anything_ros.vision.self_check import deviation, self_check_image
from depth_anything_ros.vision.transforms import normalize
import numpy as np

if TYPE_CHECKING:
    import openvino


@dataclass(frozen=True)
class Check:
    """
    One comparison at one size; what was not measured, or is no finite number, is None.

    ``max_error`` and ``mean_error`` are in standard deviations of the reference, ``abs_rel`` and
    ``pearson`` as in ``vision.agreement``.
    """

    name: str
    size_hw: tuple[int, int]
    limits: Limits
    max_error: float | None = None
    mean_error: float | None = None
    abs_rel: float | None = None
    pearson: float | None = None

    @property
    def passed(self) -> bool:
        """Return whether every error that is judged was measured and is within its limit."""
        pairs = ((self.limits.max_error, self.max_error),
                 (self.limits.mean_error, self.mean_error), (self.limits.abs_rel, self.abs_rel))
        return all(found is not None and found <= allowed
                   for allowed, found in pairs if allowed is not None)


@dataclass(frozen=True)
class Verification:
    """Everything that was compared; ``notes`` are for people."""

    path: str
    device: str
    precision: str
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """Return PASS, or FAIL with the comparisons that failed."""
        failed = [f'{check.name} at {check.size_hw[1]}x{check.size_hw[0]}'
                  for check in self.checks if not check.passed]
        return f'FAIL: {", ".join(failed)}' if failed else 'PASS'


def verify(path: Path, *, source: Path | None = None, device: str = 'CPU',
           precision: str = 'auto', sizes_hw: Sequence[tuple[int, int]] = (),
           table: tuple[ModelSpec, ...] = MODELS) -> Verification:
    """
    Compare an IR in f32 on the CPU with its source, the device with that, and the self-check.

    Without ``sizes_hw`` two usual sizes are taken, or the only one that the IR has. ModelError if
    the IR, a size or the device cannot be used, CheckpointError if the source cannot.
    """
    import openvino
    check_ir_files(path)
    core = openvino.Core()
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        raise ModelError(path, f'OpenVINO cannot read it ({_last_line(error)})',
                         'copy both files again or make the IR again') from error
    info = read_ir_info(model, path)
    if info is None:
        raise ModelError(path, 'it has no depth_anything metadata',
                         f'add it with `depth_anything_convert convert {path} -o NAME.xml`')
    _check_device(core, path, device)
    reference = None
    if source is not None:
        from depth_anything_ros.convert.parity.source import open_source
        reference = open_source(source, info, table)
    checks, runs_as = [], ''
    for size_hw in _sizes(path, info, sizes_hw):
        image = normalize(self_check_image(size_hw), info.mean_rgb, info.std_rgb)
        on_host, _ = _run(core, model, path, 'CPU', 'f32', image)
        if reference is not None:
            checks.append(_compare(f'CPU f32 against {reference.runner.backend}', on_host,
                                   reference.runner.run(image), info, reference.limits))
        on_device, runs_as = _run(core, model, path, device, precision, image)
        checks.append(_compare(f'{device} {runs_as} against CPU f32', on_device, on_host, info,
                               DEVICE_LIMITS))
    expected = info.self_check
    card = normalize(self_check_image(expected.size_hw), info.mean_rgb, info.std_rgb)
    answer, _ = _run(core, model, path, device, precision, card)
    checks.append(Check(f'{device} {runs_as} against the self-check', expected.size_hw,
                        Limits(mean_error=DEVICE_LIMITS.mean_error),
                        mean_error=_finite(deviation(expected, answer))))
    return Verification(str(path), device, runs_as, tuple(checks),
                        reference.notes if reference else ())


def _sizes(path: Path, info: ModelInfo,
           overrides: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    fixed = info.fixed_size_hw
    if fixed is not None:
        if any(size_hw != fixed for size_hw in overrides):
            raise ModelError(path, f'it takes {fixed[1]}x{fixed[0]} only', 'leave out --sizes')
        return (fixed,)
    for height, width in overrides:
        if height < 1 or width < 1 or height % info.patch_multiple or width % info.patch_multiple:
            raise ModelError(path, f'{width}x{height} is not made of multiples of '
                             f'{info.patch_multiple}', 'take other --sizes')
    return overrides or tuple(dict.fromkeys(InputSpec.from_info(info).sizes_hw[:2]))


def _check_device(core: 'openvino.Core', path: Path, device: str) -> None:
    seen = core.available_devices
    if not any(found == device or found.startswith(f'{device}.') for found in seen):
        raise ModelError(path, f'OpenVINO sees no device {device}',
                         f'take one of {", ".join(seen)}, or install the driver')


def _run(core: 'openvino.Core', model: 'openvino.Model', path: Path, device: str,
         precision: str, image: F32) -> tuple[F32, str]:
    """Return the depth [H, W] of a normalised image [1, 3, H, W] and the precision that ran."""
    wanted = {'PERFORMANCE_HINT': 'LATENCY'}
    if precision != 'auto':
        wanted['INFERENCE_PRECISION_HINT'] = precision
    supported = core.get_property(device, 'SUPPORTED_PROPERTIES')
    try:
        graph = model.clone()
        graph.reshape(list(image.shape))
        compiled = core.compile_model(graph, device, {
            name: value for name, value in wanted.items() if name in supported})
        depth: F32 = compiled([image])[0][0].astype(np.float32)
    except RuntimeError as error:
        raise ModelError(
            path, f'{device} cannot run it at {image.shape[3]}x{image.shape[2]} '
            f'({_last_line(error)})', 'take another device, precision or size') from error
    return depth, _precision_of(compiled)


def _precision_of(compiled: 'openvino.CompiledModel') -> str:
    try:
        hint = compiled.get_property('INFERENCE_PRECISION_HINT')
    except RuntimeError:
        return 'unknown'
    return hint.get_type_name() if hasattr(hint, 'get_type_name') else str(hint)


def _compare(name: str, found: F32, expected: F32, info: ModelInfo, limits: Limits) -> Check:
    size_hw = (expected.shape[0], expected.shape[1])
    if found.shape != expected.shape or not np.isfinite(found).all():
        return Check(name, size_hw, limits)
    error = np.abs(found.astype(np.float64) - expected) / max(float(expected.std()), 1e-12)
    alike = agreement(found, expected, info.kind == 'relative')
    return Check(name, size_hw, limits, float(error.max()), float(error.mean()),
                 _finite(alike.abs_rel), alike.pearson)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1]
