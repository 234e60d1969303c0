"""The proof: the files on disk compute what PyTorch computes in f32."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from depth_anything_ros.convert.encoders import MEAN_RGB, STD_RGB
from depth_anything_ros.convert.network import DepthAnything
from depth_anything_ros.errors import ParityError
from depth_anything_ros.model_info import Precision
from depth_anything_ros.vision.selfcheck import card_image
from depth_anything_ros.vision.transforms import normalize
import numpy as np
import numpy.typing as npt
import torch

SIZES_HW = ((518, 518), (392, 518), (518, 686))

Backend = Literal['ONNX Runtime', 'OpenVINO']
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Gates:
    """Largest errors allowed, in units of the PyTorch output's standard deviation."""

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
    Largest absolute difference from PyTorch at one input size, f32 execution on the CPU.

    ``max_error`` and ``mean_error`` are in units of the PyTorch output's standard deviation.
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
    """What was measured for files of one precision."""

    precision: Precision
    rows: tuple[ParityRow, ...]

    def worst(self, backend: Backend) -> float:
        """Return the largest error of a backend over all sizes."""
        return max(row.max_error for row in self.rows if row.backend == backend)

    def table(self) -> str:
        """Return a table for people."""
        lines = [f'{"against PyTorch f32":<20} {"size":>9} {"max/std":>9} {"mean/std":>9} '
                 f'{"allowed":>9}']
        for row in self.rows:
            size = f'{row.size_hw[1]}x{row.size_hw[0]}'
            name = row.backend if row.backend != 'OpenVINO' else f'OpenVINO {self.precision}'
            lines.append(f'{name:<20} {size:>9} {row.max_error:>9.1e} {row.mean_error:>9.1e} '
                         f'{row.allowed:>9.0e}{"" if row.passed else "  FAILED"}')
        return '\n'.join(lines)

    def require(self) -> None:
        """Raise ParityError for the first row outside its gate."""
        for row in self.rows:
            if not row.passed:
                raise ParityError(row.backend, row.size_hw, row.max_error, row.allowed)


def run_torch(network: DepthAnything, image: F32) -> F32:
    """Return the network's depth [H, W] for one normalised image [1, 3, H, W]."""
    with torch.inference_mode():
        depth: F32 = network(torch.from_numpy(image))[0].numpy()
    return depth


def card_input(size_hw: tuple[int, int]) -> F32:
    """Return the test card as network input [1, 3, H, W]."""
    return normalize(card_image(size_hw), MEAN_RGB, STD_RGB)


def measure(network: DepthAnything, onnx_path: Path, xml_path: Path, precision: Precision,
            sizes_hw: Sequence[tuple[int, int]] = SIZES_HW,
            gates: Gates | None = None) -> ParityReport:
    """Compare both files with the network on the test card at each size."""
    import onnxruntime

    gates = gates or Gates()
    session = onnxruntime.InferenceSession(onnx_path, providers=['CPUExecutionProvider'])
    rows = []
    for size_hw in sizes_hw:
        image = card_input(size_hw)
        reference = run_torch(network, image)
        outputs: list[tuple[Backend, F32]] = [
            ('ONNX Runtime', session.run(['depth'], {'image': image})[0][0]),
            ('OpenVINO', _run_openvino(xml_path, image))]
        for backend, output in outputs:
            worst, mean = _errors(output, reference)
            rows.append(ParityRow(backend, size_hw, worst, mean,
                                  gates.allowed(backend, precision)))
    return ParityReport(precision, tuple(rows))


def _run_openvino(xml_path: Path, image: F32) -> F32:
    import openvino

    core = openvino.Core()
    model = core.read_model(xml_path)
    model.reshape(list(image.shape))
    compiled = core.compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    depth: F32 = compiled(image)['depth'][0].copy()
    return depth


def _errors(output: F32, reference: F32) -> tuple[float, float]:
    if output.shape != reference.shape or not np.isfinite(output).all():
        return float('inf'), float('inf')
    difference = np.abs(output.astype(np.float64) - reference) / reference.std()
    return float(difference.max()), float(difference.mean())
