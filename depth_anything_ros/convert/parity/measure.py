"""The proof: the files on disk compute what the reference computes in f32."""

from collections.abc import Sequence
from dataclasses import dataclass

from depth_anything_ros.arrays import F32
from depth_anything_ros.convert.parity.runners import Backend, Runner
from depth_anything_ros.errors import ParityError
from depth_anything_ros.model_info import Precision
from depth_anything_ros.networks.models import InputSpec, VIT_INPUT
from depth_anything_ros.vision.self_check import self_check_image
from depth_anything_ros.vision.transforms import normalize
import numpy as np


@dataclass(frozen=True)
class Gates:
    """Largest errors allowed, in units of the reference output's standard deviation."""

    onnx: float = 1e-3
    openvino_fp32: float = 1e-3
    openvino_fp16: float = 2e-2

    def allowed(self, backend: Backend, precision: Precision) -> float:
        """Return the gate of a backend for files of this precision."""
        if backend == 'ONNX Runtime':
            return self.onnx
        return self.openvino_fp16 if precision == 'fp16' else self.openvino_fp32


@dataclass(frozen=True)
class ParityRow:
    """
    Largest absolute difference from the reference at one input size, f32 execution on the CPU.

    ``max_error`` and ``mean_error`` are in units of the reference output's standard deviation.
    """

    backend: Backend
    size_hw: tuple[int, int]
    max_error: float
    mean_error: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Return whether the error is within the gate; one that is not a number never is."""
        return self.max_error <= self.allowed


@dataclass(frozen=True)
class ParityReport:
    """What was measured for files of one precision; ``against`` names the reference."""

    precision: Precision
    rows: tuple[ParityRow, ...]
    against: Backend = 'PyTorch'

    def worst(self, backend: Backend) -> float:
        """Return the largest error of a backend over all sizes."""
        return max(row.max_error for row in self.rows if row.backend == backend)

    def table(self) -> str:
        """Return a table for people."""
        title = f'against {self.against} f32'
        width = max(len(title), 20)
        lines = [f'{title:<{width}} {"size":>9} {"max/std":>9} {"mean/std":>9} {"allowed":>9}']
        for row in self.rows:
            size = f'{row.size_hw[1]}x{row.size_hw[0]}'
            name = row.backend if row.backend != 'OpenVINO' else f'OpenVINO {self.precision}'
            lines.append(
                f'{name:<{width}} {size:>9} {row.max_error:>9.1e} {row.mean_error:>9.1e} '
                f'{row.allowed:>9.0e}{"" if row.passed else "  FAILED"}')
        return '\n'.join(lines)

    def require(self) -> None:
        """Raise ParityError for the first row outside its gate."""
        for row in self.rows:
            if not row.passed:
                raise ParityError(row.backend, row.size_hw, row.max_error, row.allowed,
                                  self.against)


def card_input(size_hw: tuple[int, int], input_spec: InputSpec = VIT_INPUT) -> F32:
    """Return the test card [1, 3, H, W], normalised for a network that takes ``input_spec``."""
    return normalize(self_check_image(size_hw), input_spec.mean_rgb, input_spec.std_rgb)


def measure(reference: Runner, candidates: Sequence[Runner], precision: Precision,
            input_spec: InputSpec, sizes_hw: Sequence[tuple[int, int]],
            gates: Gates | None = None) -> ParityReport:
    """Compare each candidate with the reference on the test card at each size."""
    gates = gates or Gates()
    rows = []
    for size_hw in sizes_hw:
        image = card_input(size_hw, input_spec)
        expected = reference.run(image)
        for candidate in candidates:
            worst, mean = _errors(candidate.run(image), expected)
            rows.append(ParityRow(candidate.backend, size_hw, worst, mean,
                                  gates.allowed(candidate.backend, precision)))
    return ParityReport(precision, tuple(rows), reference.backend)


def _errors(output: F32, reference: F32) -> tuple[float, float]:
    if output.shape != reference.shape or not np.isfinite(output).all():
        return float('inf'), float('inf')
    difference = np.abs(output.astype(np.float64) - reference) / reference.std()
    return float(difference.max()), float(difference.mean())
