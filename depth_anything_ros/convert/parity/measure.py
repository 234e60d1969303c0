"""Compares depth maps of the same image: the limits, a compared row, and a report of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from depth_anything_ros.arrays import F32
from depth_anything_ros.convert.parity.runners import Backend, Runner
from depth_anything_ros.errors import ParityError
from depth_anything_ros.inference.devices import SELF_CHECK_LIMIT
from depth_anything_ros.model_info import ModelInfo, Precision
from depth_anything_ros.networks.models import InputSpec, VIT_INPUT
from depth_anything_ros.vision.agreement import agreement
from depth_anything_ros.vision.self_check import self_check_image
from depth_anything_ros.vision.transforms import normalize
import numpy as np


@dataclass(frozen=True)
class Limits:
    """
    Largest errors allowed; None where an error is not judged.

    ``max_error`` and ``mean_error`` are in standard deviations of the reference, ``abs_rel`` as
    in ``vision.agreement``.
    """

    max_error: float | None = None
    mean_error: float | None = None
    abs_rel: float | None = None


# For a device against the CPU in f32. The mean error is that at which the runtime refuses a
# device; AbsRel 0.03 is the most that quantization may cost one image. Measured for
# Depth-Anything-V2-Small on the test card: 0.005 and 0.0012 in bf16, 0.021 and 0.010 for an INT8
# model; wrong arithmetic is far above both.
DEVICE_LIMITS = Limits(mean_error=SELF_CHECK_LIMIT, abs_rel=0.03)
_EXACT = Limits(max_error=1e-3)
_ROUNDED_TO_FP16 = Limits(max_error=2e-2)


def conversion_limits(precision: Precision) -> dict[Backend, Limits]:
    """Return the limits for a file with weights of this precision against its source in f32."""
    openvino = _ROUNDED_TO_FP16 if precision == 'fp16' else _EXACT
    return {'ONNX Runtime': _EXACT, 'OpenVINO': openvino}


@dataclass(frozen=True)
class ParityRow:
    """
    One comparison at one size; an error that was not measured or is not finite is None.

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
        """Return whether every error that has a limit was measured and is within it."""
        pairs = ((self.limits.max_error, self.max_error),
                 (self.limits.mean_error, self.mean_error), (self.limits.abs_rel, self.abs_rel))
        return all(found is not None and found <= allowed
                   for allowed, found in pairs if allowed is not None)


@dataclass(frozen=True)
class ParityReport:
    """
    The comparison of files with their source at several sizes, all in f32 on the CPU.

    The name of a row is its backend; ``precision`` is that of the files, ``against`` the backend
    of the source.
    """

    precision: Precision
    rows: tuple[ParityRow, ...]
    against: Backend = 'PyTorch'

    def worst(self, backend: Backend) -> float:
        """Return the largest error of a backend over all sizes."""
        return max(_or_inf(row.max_error) for row in self.rows if row.name == backend)

    def table(self) -> str:
        """Return a table for people."""
        title = f'against {self.against} f32'
        width = max(len(title), 20)
        lines = [f'{title:<{width}} {"size":>9} {"max/std":>9} {"mean/std":>9} {"allowed":>9}']
        for row in self.rows:
            size = f'{row.size_hw[1]}x{row.size_hw[0]}'
            name = row.name.replace('OpenVINO', f'OpenVINO {self.precision}')
            lines.append(
                f'{name:<{width}} {size:>9} {_or_inf(row.max_error):>9.1e} '
                f'{_or_inf(row.mean_error):>9.1e} {_or_inf(row.limits.max_error):>9.0e}'
                f'{"" if row.passed else "  FAILED"}')
        return '\n'.join(lines)

    def require(self) -> None:
        """Raise ParityError for the first row outside its limits."""
        for row in self.rows:
            if not row.passed:
                raise ParityError(row.name, row.size_hw, _or_inf(row.max_error),
                                  _or_inf(row.limits.max_error), self.against)


def compare(name: str, size_hw: tuple[int, int], found: F32, expected: F32, limits: Limits,
            info: ModelInfo | None = None) -> ParityRow:
    """
    Compare a depth map [H, W] with the reference for the same image of ``size_hw``.

    ``abs_rel`` and ``pearson`` are measured where ``info`` says what the maps are. All errors are
    None if the sizes differ or ``found`` is not finite.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        return ParityRow(name, size_hw, limits)
    error = np.abs(found.astype(np.float64) - expected) / max(float(expected.std()), 1e-12)
    worst, mean = float(error.max()), float(error.mean())
    if info is None:
        return ParityRow(name, size_hw, limits, worst, mean)
    alike = agreement(found, expected, info.kind == 'relative', info.needs_fit)
    return ParityRow(name, size_hw, limits, worst, mean,
                     alike.abs_rel if np.isfinite(alike.abs_rel) else None, alike.pearson)


def measure(reference: Runner, candidates: Sequence[Runner], precision: Precision,
            input_spec: InputSpec, sizes_hw: Sequence[tuple[int, int]],
            limits: Mapping[Backend, Limits] | None = None) -> ParityReport:
    """
    Compare each candidate with the reference on the test card at each size.

    ``limits`` are by default those of a conversion to ``precision``.
    """
    limits = limits or conversion_limits(precision)
    rows = []
    for size_hw in sizes_hw:
        image = card_input(size_hw, input_spec)
        expected = reference.run(image)
        rows += [compare(candidate.backend, size_hw, candidate.run(image), expected,
                         limits[candidate.backend]) for candidate in candidates]
        if reference.run_sky is not None:
            sky = reference.run_sky(image)
            rows += [compare_sky(candidate.backend, size_hw, candidate.run_sky and
                                 candidate.run_sky(image), sky, limits[candidate.backend])
                     for candidate in candidates]
    return ParityReport(precision, tuple(rows), reference.backend)


def compare_sky(name: str, size_hw: tuple[int, int], found: F32 | None, expected: F32,
                limits: Limits) -> ParityRow:
    """
    Compare the sky, None where there is none, with the reference for the same image.

    Its errors are in 0..1 at least, because the card may show none; it has no ``abs_rel``.
    """
    name, limits = f'{name} sky', replace(limits, abs_rel=None)
    if found is None or found.shape != expected.shape or not np.isfinite(found).all():
        return ParityRow(name, size_hw, limits)
    error = np.abs(found.astype(np.float64) - expected) / max(float(expected.std()), 1.0)
    return ParityRow(name, size_hw, limits, float(error.max()), float(error.mean()))


def card_input(size_hw: tuple[int, int], input_spec: InputSpec = VIT_INPUT) -> F32:
    """Return the test card [1, 3, H, W], normalised for a network with this input."""
    return normalize(self_check_image(size_hw), input_spec.mean_rgb, input_spec.std_rgb)


def _or_inf(value: float | None) -> float:
    return float('inf') if value is None else value
