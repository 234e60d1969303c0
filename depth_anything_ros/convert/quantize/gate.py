"""What an INT8 model may lose, and what it loses, against its own f32 execution."""

from collections.abc import Sequence
from dataclasses import dataclass
import math
import statistics
import time
from typing import Any, TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.vision.agreement import Agreement, agreement
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import openvino

_ROUNDS = 9


@dataclass(frozen=True)
class Loss:
    """Mean and worst aligned AbsRel and worst Pearson over images, see ``vision.agreement``."""

    abs_rel_mean: float
    abs_rel_max: float
    pearson_min: float

    @classmethod
    def of(cls, images: Sequence[Agreement]) -> 'Loss':
        """Return the loss over images."""
        return cls(float(np.mean([one.abs_rel for one in images])),
                   max(one.abs_rel for one in images), min(one.pearson for one in images))

    def __str__(self) -> str:
        return (f'AbsRel {self.abs_rel_mean:.4f} mean {self.abs_rel_max:.4f} worst, '
                f'Pearson {self.pearson_min:.4f} worst')


@dataclass(frozen=True)
class Gate:
    """The largest loss that is accepted; ValueError for limits that no model can meet."""

    abs_rel_mean: float = 0.012
    abs_rel_max: float = 0.03
    pearson_min: float = 0.995

    def __post_init__(self) -> None:
        if not (self.abs_rel_mean > 0 and self.abs_rel_max > 0 and self.pearson_min < 1):
            raise ValueError('the limits of AbsRel must be positive and that of Pearson below 1')

    def excess(self, loss: Loss) -> float:
        """
        Return by how much the error is too large: 1 is just accepted, 2 is twice the error.

        Pearson falls with the square of the error.
        """
        pearson = math.sqrt(max(1 - loss.pearson_min, 0) / (1 - self.pearson_min))
        return max(loss.abs_rel_mean / self.abs_rel_mean, loss.abs_rel_max / self.abs_rel_max,
                   pearson)

    def __str__(self) -> str:
        return (f'AbsRel {self.abs_rel_mean:g} mean {self.abs_rel_max:g} worst, '
                f'Pearson {self.pearson_min:g} worst')


@dataclass(frozen=True)
class Sample:
    """A network input [1, 3, H, W] and the depth [H, W] that the model gives for it in f32."""

    image: F32
    depth: F32


def make_samples(model: 'openvino.Model', images: Sequence[F32]) -> list[Sample]:
    """Return the images, sorted by size, with the model's own f32 depth."""
    ordered = sorted(images, key=lambda image: image.shape)
    return [Sample(image, depth) for image, depth in zip(ordered, _run(model, ordered, 'f32'))]


def measure(model: 'openvino.Model', samples: Sequence[Sample], relative: bool,
            precision: str | None = None) -> list[Agreement]:
    """
    Return what a model keeps of each sample on the CPU, in ``precision`` or the CPU's choice.

    What stays in floating point in an INT8 model runs in bf16 where the CPU has it.
    """
    depths = _run(model, [sample.image for sample in samples], precision)
    return [agreement(depth, sample.depth, relative) for depth, sample in zip(depths, samples)]


def _run(model: 'openvino.Model', images: Sequence[F32], precision: str | None) -> list[F32]:
    """Return the depth of each image; images of one size must follow each other."""
    import openvino

    core = openvino.Core()
    compiled: Any = None
    shape = None
    options = {'INFERENCE_PRECISION_HINT': precision} if precision else {}
    depths: list[F32] = []
    for image in images:
        if image.shape != shape:
            fixed, shape = model.clone(), image.shape
            fixed.reshape(list(shape))
            compiled = core.compile_model(fixed, 'CPU', options)
        depths.append(compiled([image])[0].reshape(image.shape[-2:]).copy())
    return depths


def speedup(model: 'openvino.Model', baseline: 'openvino.Model',
            image: npt.NDArray[np.float32], rounds: int = _ROUNDS) -> float:
    """
    Return inferences per second of ``model`` over those of ``baseline``.

    Both run in the precision that the CPU would choose, in turn; the median of the rounds counts.
    """
    requests = [_request(one, image) for one in (model, baseline)]
    ratios = []
    for number in range(rounds + 1):
        seconds = []
        for request in requests:
            started = time.perf_counter()
            request.infer()
            seconds.append(time.perf_counter() - started)
        if number:
            ratios.append(seconds[1] / seconds[0])
    return statistics.median(ratios)


def _request(model: 'openvino.Model', image: npt.NDArray[np.float32]) -> Any:
    import openvino

    fixed = model.clone()
    fixed.reshape(list(image.shape))
    compiled = openvino.Core().compile_model(fixed, 'CPU', {'PERFORMANCE_HINT': 'LATENCY'})
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ascontiguousarray(image)))
    return request
