"""Measurements of an INT8 model on the CPU: its agreement with f32, and its speed."""

from collections.abc import Sequence
from dataclasses import dataclass
import statistics
import time
from typing import Any, TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.inference.devices import compile_options, has_bf16, open_core
from depth_anything_ros.vision.agreement import Agreement, agreement
import numpy as np

if TYPE_CHECKING:
    import openvino

_ROUNDS = 9


@dataclass(frozen=True)
class Sample:
    """A network input [1, 3, H, W] and the output [H, W] of the model in f32."""

    image: F32
    depth: F32


def make_samples(model: 'openvino.Model', images: Sequence[F32]) -> list[Sample]:
    """Return the images [1, 3, H, W], sorted by size, with the output of the model in f32."""
    ordered = sorted(images, key=lambda image: image.shape)
    return [Sample(image, depth) for image, depth in zip(ordered, _infer(model, ordered, 'f32'))]


def measure(model: 'openvino.Model', samples: Sequence[Sample], relative: bool,
            precision: str | None = None) -> list[Agreement]:
    """
    Return the agreement of a model with each sample.

    ``precision`` is that of the layers in floating point. With None it is f32, and where the CPU
    has bf16, each sample is measured in bf16 too. ``relative``: the output is inverse depth.
    """
    precisions = [precision] if precision else ['f32', 'bf16'] if has_bf16() else ['f32']
    images = [sample.image for sample in samples]
    return [agreement(depth, sample.depth, relative) for each in precisions
            for depth, sample in zip(_infer(model, images, each), samples)]


def _infer(model: 'openvino.Model', images: Sequence[F32], precision: str) -> list[F32]:
    """Return the depth [H, W] of each image; it compiles again where the size changes."""
    core = open_core()
    compiled: Any = None
    shape = None
    options = {'INFERENCE_PRECISION_HINT': precision}
    depths: list[F32] = []
    for image in images:
        if image.shape != shape:
            fixed, shape = model.clone(), image.shape
            fixed.reshape(list(shape))
            compiled = core.compile_model(fixed, 'CPU', options)
        depth = compiled([image])[0]
        depths.append(depth.reshape(depth.shape[-2:]).copy())
    return depths


def speedup(model: 'openvino.Model', baseline: 'openvino.Model', image: F32,
            rounds: int = _ROUNDS) -> float:
    """
    Return the ratio of inferences per second of ``model`` to those of ``baseline``.

    Both run alternately on ``image`` [1, 3, H, W] in the CPU's faster precision. The result is
    the median over the rounds.
    """
    requests = [_infer_request(each, image) for each in (model, baseline)]
    ratios = []
    for number in range(rounds + 1):
        seconds = []
        for request in requests:
            started = time.perf_counter()
            request.infer()
            seconds.append(time.perf_counter() - started)
        # The first round warms up.
        if number:
            ratios.append(seconds[1] / seconds[0])
    return statistics.median(ratios)


def _infer_request(model: 'openvino.Model', image: F32) -> Any:
    import openvino

    fixed = model.clone()
    fixed.reshape(list(image.shape))
    core = open_core()
    compiled = core.compile_model(fixed, 'CPU', compile_options(core, 'CPU', 'auto'))
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ascontiguousarray(image)))
    return request
