"""Measurements of an INT8 model on the CPU: its agreement with f32, and its speed."""

from collections.abc import Sequence
from dataclasses import dataclass
import statistics
import time
from typing import Any, TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.convert.parity.measure import card_input
from depth_anything_ros.convert.quantize.gate import MapsAgreement
from depth_anything_ros.inference.devices import compile_options, has_bf16, open_core
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.networks.models import InputSpec
from depth_anything_ros.vision.agreement import agreement
from depth_anything_ros.vision.self_check import deviation
import numpy as np

if TYPE_CHECKING:
    import openvino

_ROUNDS = 9


@dataclass(frozen=True)
class Sample:
    """A network input [1, 3, H, W] and the maps [H, W] of the model in f32: depth, and sky."""

    image: F32
    maps: tuple[F32, ...]

    @property
    def depth(self) -> F32:
        """Return the depth [H, W]."""
        return self.maps[0]


def make_samples(model: 'openvino.Model', images: Sequence[F32]) -> list[Sample]:
    """Return the images [1, 3, H, W], sorted by size, with the output of the model in f32."""
    ordered = sorted(images, key=lambda image: image.shape)
    return [Sample(image, maps) for image, maps in zip(ordered, _infer(model, ordered, 'f32'))]


def measure(model: 'openvino.Model', samples: Sequence[Sample], info: ModelInfo,
            precision: str | None = None) -> list[MapsAgreement]:
    """
    Return the agreement of a model with each sample; ``info`` says what its outputs are.

    ``precision`` is that of the layers in floating point. With None it is f32, and where the CPU
    has bf16, each sample is measured in bf16 too.
    """
    precisions = [precision] if precision else ['f32', 'bf16'] if has_bf16() else ['f32']
    images = [sample.image for sample in samples]
    return [_agreement(maps, sample.maps, info) for each in precisions
            for maps, sample in zip(_infer(model, images, each), samples)]


def _agreement(found: tuple[F32, ...], expected: tuple[F32, ...],
               info: ModelInfo) -> MapsAgreement:
    depth = agreement(found[0], expected[0], info.kind == 'relative', info.needs_fit)
    sky_error = 0.0
    if info.sky_threshold is not None:
        skies = [maps[1] >= info.sky_threshold for maps in (found, expected)]
        sky_error = float(np.mean(skies[0] != skies[1]))
    return MapsAgreement(depth.abs_rel, depth.pearson, sky_error)


def self_check_error(model: 'openvino.Model', info: ModelInfo) -> float:
    """Return by how much a model in f32 deviates from its self-check, as the runtime measures."""
    check = info.self_check
    (depth, *_), = _infer(model, [card_input(check.size_hw, InputSpec.from_info(info))], 'f32')
    return deviation(check, depth, info.output_hw(check.size_hw))


def _infer(model: 'openvino.Model', images: Sequence[F32],
           precision: str) -> list[tuple[F32, ...]]:
    """Return the maps [H, W] of each image; it compiles again where the size changes."""
    core = open_core()
    compiled: Any = None
    shape = None
    options = {'INFERENCE_PRECISION_HINT': precision}
    found: list[tuple[F32, ...]] = []
    for image in images:
        if image.shape != shape:
            fixed, shape = model.clone(), image.shape
            fixed.reshape(list(shape))
            compiled = core.compile_model(fixed, 'CPU', options)
        found.append(tuple(values.reshape(values.shape[-2:]).copy()
                           for values in compiled([image]).values()))
    return found


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
