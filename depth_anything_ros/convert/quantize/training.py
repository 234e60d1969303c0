"""Quantization-aware training: an INT8 model learns the depth of the same model in f32."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from statistics import fmean
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.cli.progress import count_in_lines, Report
from depth_anything_ros.convert.parity.measure import compare, conversion_limits, ParityReport
from depth_anything_ros.convert.quantize.layers import quantizer_nodes, without_quantizers
from depth_anything_ros.convert.quantize.measure import make_samples, Sample
from depth_anything_ros.convert.quantize.quantizer import compress_products
from depth_anything_ros.convert.quantize.torch_graph import TorchGraph
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.process import keep_freed_memory, TRAINING_BYTES
from depth_anything_ros.vision.agreement import MAX_DEPTH_RATIO
import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import openvino

# Takes an INT8 model whose weights are in floating point behind FakeQuantize nodes, trains it and
# returns it with weights in 8 bit.
Training = Callable[['openvino.Model'], 'openvino.Model']

# A tensor of zeros learns as if its root mean square were this.
_MIN_SCALE = 1e-3
_WARMUP = 10


@dataclass(frozen=True)
class TrainingOptions:
    """
    How to train: number of steps, images per step, learning rate and seed.

    ``rate`` is the largest change of a weight in one step, relative to the root mean square of its
    tensor, so that it suits every network.
    """

    steps: int = 400
    batch: int = 2
    rate: float = 1e-4
    seed: int = 0

    def __str__(self) -> str:
        return f'trained in INT8 for {self.steps} steps of {self.batch} images'


def training_samples(model: 'openvino.Model', images: Sequence[F32]) -> list[Sample]:
    """Return the calibration images [1, 3, H, W] and their mirror images, with the f32 depth."""
    mirrored = [np.ascontiguousarray(image[..., ::-1]) for image in images]
    return make_samples(model, [*images, *mirrored])


def aligned_error(found: Tensor, expected: Tensor, info: ModelInfo) -> Tensor:
    """Return AbsRel of a map [1, H, W] as ``vision.agreement`` measures it, with a gradient."""
    if info.kind == 'metric':
        return ((found - expected) / expected).abs().mean()
    if info.needs_fit:
        centred, target = found - found.mean(), expected - expected.mean()
        slope = (centred * target).sum() / centred.square().sum().clamp(min=1e-12)
        found = expected.mean() + centred * slope
    floor = expected.max() / MAX_DEPTH_RATIO
    return (expected.maximum(floor) / found.maximum(floor) - 1).abs().mean()


def train_quantized(model: 'openvino.Model', samples: Sequence[Sample], info: ModelInfo,
                    options: TrainingOptions, report: Report) -> 'openvino.Model':
    """
    Train the weights of an INT8 model on ``samples`` and return it with weights in 8 bit.

    The quantizers and their ranges stay as NNCF placed them. Without rounding, PyTorch and
    OpenVINO must compute the same depth before and after the training, else ParityError.
    UntrainableError names an operator that cannot be trained.
    """
    from openvino._offline_transformations import compress_quantize_weights_transformation

    graph = TorchGraph(model)
    _require_parity(graph, model, samples[0].image)
    keep_freed_memory(TRAINING_BYTES)
    losses = _train(graph, samples, info, options, report)
    shown = max(1, len(losses) // 10)
    report(f'      AbsRel of the training images: {fmean(losses[:shown]):.4f} at first, '
           f'{fmean(losses[-shown:]):.4f} at last')
    graph.store()
    _require_parity(graph, model, samples[0].image)
    compress_quantize_weights_transformation(model)
    return compress_products(model)


def _train(graph: TorchGraph, samples: Sequence[Sample], info: ModelInfo,
           options: TrainingOptions, report: Report) -> list[float]:
    """Return the loss of each step."""
    optimizer = torch.optim.Adam([
        {'params': [weight.values], 'full_rate': options.rate * _scale(weight.values)}
        for weight in graph.weights], lr=0.0)
    rng = np.random.default_rng(options.seed)
    order: list[int] = []
    losses = []
    with count_in_lines(report, 'steps', options.steps) as advance:
        for step in range(options.steps):
            factor = _learning_rate(step, options.steps)
            for group in optimizer.param_groups:
                group['lr'] = group['full_rate'] * factor
            total = 0.0
            for _ in range(options.batch):
                order = order or rng.permutation(len(samples)).tolist()
                sample = samples[order.pop()]
                error = aligned_error(graph(torch.from_numpy(sample.image)),
                                      torch.from_numpy(sample.depth)[None], info)
                (error / options.batch).backward()
                total += error.item() / options.batch
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total)
            advance(f'AbsRel {total:.4f}')
    return losses


def _scale(values: Tensor) -> float:
    """Return the root mean square of a tensor, at least ``_MIN_SCALE``."""
    return max(values.detach().square().mean().sqrt().item(), _MIN_SCALE)


def _learning_rate(step: int, steps: int) -> float:
    """Return the factor of the learning rate: linear warm-up, then a cosine."""
    if step < min(_WARMUP, steps // 10):
        return (step + 1) / min(_WARMUP, steps // 10)
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def _require_parity(graph: TorchGraph, model: 'openvino.Model', image: F32) -> None:
    """Raise ParityError if PyTorch and OpenVINO differ where nothing is rounded."""
    exact = without_quantizers(model, quantizer_nodes(model))
    expected, = (sample.depth for sample in make_samples(exact, [image]))
    with torch.no_grad():
        found = graph(torch.from_numpy(image), quantized=False)[0].numpy()
    size_hw = image.shape[-2], image.shape[-1]
    row = compare('OpenVINO', size_hw, found, expected, conversion_limits('fp32')['OpenVINO'])
    ParityReport('fp32', (row,)).require()
