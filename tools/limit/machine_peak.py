"""The peak of the machine, measured with OpenVINO: matrix products and memory bandwidth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
import statistics
import time
from typing import Any

from depth_anything_ros.arrays import U8
from depth_anything_ros.inference.devices import open_core
import numpy as np

# Rows and width of the products; small ones stay in the cache, large ones have less overhead.
MATMULS = ((1024, 768), (2048, 1024), (2048, 2048))
_CHAIN = 4
_STREAM_BYTES = 64 << 20
_SECONDS, _FEWEST_CALLS = 0.25, 3


@dataclass(frozen=True)
class Execution:
    """The precision (bf16, f32 or f16) and the threads of a model and of its comparison."""

    precision: str
    threads: int

    def options(self, precision: str | None = None) -> dict[str, object]:
        """Return the properties for ``compile_model``."""
        return {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_NUM_THREADS': self.threads,
                'INFERENCE_PRECISION_HINT': precision or self.precision}


def make_matmul(rows: int, width: int, execution: Execution,
                seconds: float = _SECONDS) -> Callable[[], float]:
    """
    Return a function that measures for ``seconds`` and returns the median GFLOP/s.

    It computes a chain of four products of [rows, width] with constants [width, width], so that
    the conversion to and from the precision is a small part.
    """
    import openvino as ov
    from openvino import opset13 as op
    rng = np.random.default_rng(0)
    image = result = op.parameter([rows, width], np.float32)
    for _ in range(_CHAIN):
        weights = rng.standard_normal((width, width), np.float32) / np.float32(width ** 0.5)
        result = op.matmul(result, op.constant(weights), False, True)
    compiled = open_core().compile_model(
        ov.Model([op.result(result)], [image], 'matmul'), 'CPU', execution.options())
    request = compiled.create_infer_request()
    tensor = ov.Tensor(rng.standard_normal((rows, width), np.float32))
    request.infer([tensor], share_inputs=True)
    flop = 2.0 * _CHAIN * rows * width * width

    def measure() -> float:
        return flop / 1e9 / _median_seconds(
            partial(request.infer, [tensor], share_inputs=True), seconds)

    return measure


def make_stream(execution: Execution, seconds: float = _SECONDS,
                size_bytes: int = _STREAM_BYTES) -> Callable[[], float]:
    """
    Return a function that measures for ``seconds`` and returns the median GB/s.

    It adds 1 to ``size_bytes`` of f32 and counts the bytes read and the bytes written.
    """
    import openvino as ov
    from openvino import opset13 as op
    image = op.parameter([size_bytes // 4], np.float32)
    model = ov.Model([op.result(op.add(image, np.float32(1)))], [image], 'stream')
    compiled = open_core().compile_model(model, 'CPU', execution.options('f32'))
    request = compiled.create_infer_request()
    request.input_tensors[0].data[:] = 0
    request.infer()

    def measure() -> float:
        return 2.0 * size_bytes / 1e9 / _median_seconds(request.infer, seconds)

    return measure


def seconds_of(call: Callable[[], object]) -> float:
    """Return the duration of a call [s]."""
    started_s = time.perf_counter()
    call()
    return time.perf_counter() - started_s


def best_per_round(found: Sequence[Sequence[float]]) -> list[float]:
    """Return the highest figure of each round."""
    return [max(values) for values in zip(*found, strict=True)]


def _median_seconds(call: Callable[[], object], seconds: float) -> float:
    """Return the median duration [s] of calls over ``seconds``, at least three."""
    found: list[float] = []
    while len(found) < _FEWEST_CALLS or sum(found) < seconds:
        found.append(seconds_of(call))
    return statistics.median(found)


class ProfiledModel:
    """
    A request of a model compiled with PERF_COUNT, and the time of its layers in each call.

    OpenVINO reports means, in whole microseconds, over all calls since the model was compiled, so
    the time of a call is the difference of two sums. ``rounds`` holds the calls of each round: a
    mapping from the name of each executed layer to its time [s].
    """

    def __init__(self, request: Any, image: U8, warm_up: int) -> None:
        self._request = request
        self._image = image
        self._calls = 0
        self._sums_s: dict[str, float] = {}
        self.rounds: list[list[dict[str, float]]] = []
        for _ in range(warm_up):
            self._call()

    def run(self, calls: int) -> float:
        """Run a round of ``calls`` and return the median time of one inference [s]."""
        found = [self._call() for _ in range(calls)]
        self.rounds.append([layers_s for _, layers_s in found])
        return statistics.median(seconds for seconds, _ in found)

    def _call(self) -> tuple[float, dict[str, float]]:
        seconds = seconds_of(partial(self._request.infer, [self._image], share_inputs=True))
        self._calls += 1
        before = self._sums_s
        self._sums_s = {
            info.node_name: info.real_time.total_seconds() * self._calls
            for info in self._request.get_profiling_info() if info.status.name == 'EXECUTED'}
        return seconds, {name: max(0.0, total_s - before.get(name, 0.0))
                         for name, total_s in self._sums_s.items()}
