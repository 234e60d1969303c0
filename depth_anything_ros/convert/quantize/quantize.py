"""From an IR in floating point to one in INT8 that loses no more than the gate allows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
import math
from pathlib import Path
import statistics
import time
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.cli.progress import Report, Steps
from depth_anything_ros.convert.export import save_ir
from depth_anything_ros.convert.quantize.gate import (
    Gate, Loss, make_samples, measure, Sample, speedup)
from depth_anything_ros.convert.quantize.images import (
    hold_out, inputs_as_they_come, inputs_of_one_size, read_pictures)
from depth_anything_ros.convert.quantize.layers import (
    choose, Layer, method, predicted_error, quantize_model, quantized_layers, without)
from depth_anything_ros.errors import CheckpointError, QualityError
from depth_anything_ros.files import check_target, publish, staged
from depth_anything_ros.inference.ir import read_model
from depth_anything_ros.model_info import ModelInfo, Quantization
from depth_anything_ros.version import __version__

if TYPE_CHECKING:
    import openvino

Quantize = Callable[..., 'openvino.Model']

_STEPS = 6
_ROUNDS = 6
_SEARCH_IMAGES = 6
# Aim below the gate, because a prediction is not a measurement.
_AIM = 0.95
_REPORT_EVERY_S = 30.0
_LARGEST_INPUT = 392


@dataclass(frozen=True)
class QuantizeJob:
    """
    Which IR to quantize with which images, and what it may lose.

    ``images`` and ``gate_images`` are what ``media.open_images`` takes; without the latter every
    fourth of the images is kept for the gate. ``input_size`` is the short side of the network's
    input while this is measured, None the model's own, but at most 392. ``force`` replaces an
    output and writes a model that misses the gate.
    """

    source: Path
    output: Path
    images: str
    topic: str | None = None
    gate_images: str | None = None
    gate: Gate = field(default_factory=Gate)
    input_size: int | None = None
    limit: int = 40
    force: bool = False


@dataclass(frozen=True)
class Trial:
    """One choice of layers in floating point, what it loses and how fast it is against before."""

    kept_float: tuple[str, ...]
    loss: Loss
    speedup: float


@dataclass(frozen=True)
class Quantized:
    """A finished INT8 model and everything that was tried on the way, the written one last."""

    path: Path
    info: ModelInfo
    trials: tuple[Trial, ...]


def quantize(job: QuantizeJob, *, report: Report = print,
             quantizer: Quantize = quantize_model) -> Quantized:
    """
    Write the INT8 form of an IR, found by leaving ever more layers in floating point.

    CheckpointError, QualityError, ImageError or OSError leave no file behind.
    """
    check_target(job.output, job.force)
    steps = Steps(report, _STEPS)
    with steps.step(f'reading {job.source} and the images'):
        model, info = _read(job.source)
        pictures = read_pictures(job.images, job.topic, job.limit, report)
        if job.gate_images is None:
            pictures, gate_pictures = hold_out(pictures)
        else:
            gate_pictures = read_pictures(job.gate_images, None, job.limit, report)
    report(f'      {len(pictures)} images for calibration, {len(gate_pictures)} for the gate')
    fixed = model.clone()
    input_size = job.input_size or min(info.input_size, _LARGEST_INPUT)
    calibration = inputs_of_one_size(pictures, info, input_size)
    fixed.reshape(list(calibration[0].shape))
    with steps.step('computing the depth of the gate images in f32'):
        samples = make_samples(model, inputs_as_they_come(gate_pictures, info, input_size))
    search = _Search(fixed, calibration, samples, info, job.gate, quantizer, report)
    search.run(steps)
    trial, candidate = search.best()
    if job.gate.excess(trial.loss) > 1 and not job.force:
        raise QualityError(job.source, str(trial.loss), str(job.gate))
    candidate.reshape(model.input(0).partial_shape)
    info = replace(
        info, precision='int8', converter_version=__version__,
        quantization=Quantization(method(model), trial.kept_float, len(calibration), len(samples),
                                  trial.loss.abs_rel_mean, trial.loss.abs_rel_max,
                                  trial.loss.pearson_min))
    with steps.step(f'writing {job.output}'), \
            staged(job.output, job.source.with_suffix('.bin').stat().st_size) as folder:
        save_ir(candidate, folder / 'model.xml', info)
        publish(folder / 'model.xml', job.output)
    others = [one for one in search.trials if one is not trial]
    return Quantized(job.output, info, (*others, trial))


def _read(path: Path) -> tuple['openvino.Model', ModelInfo]:
    import openvino

    model, info = read_model(openvino.Core(), path)
    if info.precision == 'int8':
        raise CheckpointError(path, 'it is in INT8 already',
                              'give the IR in fp16 or fp32 that it was made from')
    return model, info


class _Search:
    """Quantizes with ever more layers in floating point until the gate is met."""

    def __init__(self, model: 'openvino.Model', calibration: Sequence[F32],
                 samples: Sequence[Sample], info: ModelInfo, gate: Gate, quantizer: Quantize,
                 report: Report) -> None:
        self._model, self._calibration, self._samples = model, calibration, samples
        self._relative, self._gate = info.kind == 'relative', gate
        self._quantizer, self._report = quantizer, report
        self._names: dict[str, str] = {}
        self._found: list[tuple[Trial, openvino.Model]] = []

    @property
    def trials(self) -> list[Trial]:
        """Return what was tried, in order."""
        return [trial for trial, _ in self._found]

    def run(self, steps: Steps) -> None:
        """Try until the gate is met or nothing would be left in INT8."""
        kept: frozenset[str] = frozenset()
        with steps.step('quantizing every layer'):
            open_model = self._quantizer(self._model, self._calibration, compress=False)
            layers = quantized_layers(open_model)
            self._names = {layer.node: layer.name for layer in layers}
            excess = self._try(kept)
        if excess <= 1:
            return
        with steps.step(f'measuring what each of {len(layers)} layers costs'):
            errors = self._sensitivities(open_model, layers)
        with steps.step('leaving layers in floating point'):
            for _ in range(_ROUNDS):
                kept = choose(layers, errors, kept,
                              _AIM / excess * predicted_error(errors, kept))
                if len(kept) == len(layers):
                    break
                excess = self._try(kept)
                if excess <= 1:
                    break

    def best(self) -> tuple[Trial, 'openvino.Model']:
        """Return the trial that comes nearest to the gate or is inside, and its model."""
        return min(self._found, key=lambda found: self._gate.excess(found[0].loss))

    def _try(self, kept_float: frozenset[str]) -> float:
        candidate = self._quantizer(self._model, self._calibration, kept_float)
        loss = Loss.of(measure(candidate, self._samples, self._relative))
        gain = speedup(candidate, self._model, self._calibration[0])
        names = tuple(self._names[node] for node in self._names if node in kept_float)
        self._found.append((Trial(names, loss, gain), candidate))
        self._report(f'      {len(names)} layers in floating point: {loss}, '
                     f'{gain:.2f} times as fast')
        return self._gate.excess(loss)

    def _sensitivities(self, model: 'openvino.Model',
                       layers: Sequence[Layer]) -> dict[str, float]:
        """
        Return the AbsRel that each layer costs when it alone is quantized.

        The root mean square over images, because one bad image fails the gate.
        """
        chosen = self._calibration[::max(1, len(self._calibration) // _SEARCH_IMAGES)]
        samples = make_samples(self._model, chosen[:_SEARCH_IMAGES])
        every = frozenset().union(*(layer.quantizers for layer in layers))
        errors, told = {}, time.monotonic()
        for index, layer in enumerate(layers, start=1):
            alone = without(model, every - layer.quantizers)
            found = measure(alone, samples, self._relative, 'f32')
            errors[layer.node] = math.sqrt(
                statistics.mean(one.abs_rel * one.abs_rel for one in found))
            if time.monotonic() - told > _REPORT_EVERY_S:
                told = time.monotonic()
                self._report(f'      {index} of {len(layers)} layers')
        return errors
