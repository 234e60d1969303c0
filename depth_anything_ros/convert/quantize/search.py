"""The search for the layers that have to stay in floating point so that INT8 meets its gate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import math
import statistics
import time
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.cli.progress import Report, Steps
from depth_anything_ros.convert.quantize.gate import Gate, Loss
from depth_anything_ros.convert.quantize.layers import (
    Layer, quantized_layers, quantizer_nodes, without_quantizers)
from depth_anything_ros.convert.quantize.measure import make_samples, measure, Sample, speedup
from depth_anything_ros.convert.quantize.training import Training
from depth_anything_ros.model_info import ModelInfo

if TYPE_CHECKING:
    import openvino

# As ``quantize_model``.
Quantizer = Callable[..., 'openvino.Model']

_ROUNDS = 8
# The search ends when it knows the number of layers to one in so many.
_FINENESS = 16
_SEARCH_IMAGES = 6
# The prediction is not exact, so the search aims a little below the gate.
_AIM = 0.95
_REPORT_EVERY_S = 30.0
# Stands for the weights of all matrix products, which are in 8 bit in any case.
_WEIGHTS = ''


@dataclass(frozen=True)
class Trial:
    """
    One choice of layers without ranges, its loss and its speed relative to the original.

    The activations of the layers ``kept_float`` get no range; ``quantize_model`` says how these
    layers run. ``trained``: the weights were trained in INT8.
    """

    kept_float: tuple[str, ...]
    loss: Loss
    speedup: float
    trained: bool = False


def predicted_error(errors: Mapping[str, float], kept_float: frozenset[str]) -> float:
    """
    Return the expected AbsRel when all layers but ``kept_float`` have ranges.

    ``errors`` maps each node to the AbsRel of the model with only that layer quantized. Rounding
    errors of different layers are independent, so their squares add up.
    """
    return math.sqrt(sum(error * error for node, error in errors.items()
                         if node not in kept_float))


def by_cost(layers: Sequence[Layer], errors: Mapping[str, float]) -> list[str]:
    """Return the nodes of the layers, that with the largest squared error for its cost first."""
    return [layer.node for layer in sorted(
        layers, key=lambda layer: errors[layer.node] ** 2 / layer.cost, reverse=True)]


def enough_float(order: Sequence[str], errors: Mapping[str, float], more_than: int,
                 allowed: float) -> int:
    """
    Return how many nodes of ``order`` go without ranges for a predicted error up to ``allowed``.

    More than ``more_than``, if there are more.
    """
    for count in range(more_than + 1, len(order)):
        if predicted_error(errors, frozenset(order[:count])) <= allowed:
            return count
    return len(order)


class LayerSearch:
    """
    Gives as many layers as the gate allows ranges, with which they run fastest.

    ``model`` has a fixed input size, that of the ``calibration`` images [1, 3, H, W]. With
    ``training`` each choice of layers is trained in INT8, except the first one if it meets the
    gate without; the search then ends with the first choice that meets it.
    """

    def __init__(self, model: 'openvino.Model', calibration: Sequence[F32],
                 samples: Sequence[Sample], info: ModelInfo, gate: Gate, quantizer: Quantizer,
                 report: Report, training: Training | None = None) -> None:
        self._model, self._calibration, self._samples = model, calibration, samples
        self._info, self._gate = info, gate
        self._quantizer, self._report = quantizer, report
        self._training = training
        self._names: dict[str, str] = {}
        self._results: list[tuple[Trial, openvino.Model]] = []

    @property
    def trials(self) -> list[Trial]:
        """Return every trial in order."""
        return [trial for trial, _ in self._results]

    def run(self, steps: Steps) -> None:
        """Search for the fewest layers that must go without ranges; see ``best``."""
        with steps.step('quantizing every layer'):
            excess = self._try(frozenset())
        if excess <= 1:
            return
        if self._training:
            with steps.step('training in INT8'):
                excess = self._try(frozenset(), self._training)
            if excess <= 1:
                return
        with steps.step('measuring the error of each layer'):
            uncompressed = self._quantizer(self._model, self._calibration, compress=False)
            layers = quantized_layers(uncompressed)
            self._names = {layer.node: layer.name for layer in layers}
            errors = self._layer_errors(uncompressed, layers)
        with steps.step('leaving layers without fixed ranges'):
            self._keep_float(by_cost(layers, errors), errors, excess)

    def _keep_float(self, order: Sequence[str], errors: Mapping[str, float],
                    excess: float) -> None:
        """Predict how many nodes of ``order`` are enough, then halve the interval."""
        too_few, enough = 0, None
        for _ in range(_ROUNDS):
            if enough is None:
                count = enough_float(
                    order, errors, too_few,
                    _AIM / excess * predicted_error(errors, frozenset(order[:too_few])))
            elif self._training or enough - too_few <= math.ceil(len(order) / _FINENESS):
                return
            else:
                count = (too_few + enough) // 2
            tried = self._try(frozenset(order[:count]), self._training)
            if tried <= 1:
                enough = count
            elif count == len(order):
                return
            else:
                too_few, excess = count, tried

    def best(self) -> tuple[Trial, 'openvino.Model']:
        """
        Return the trial with the fewest layers without ranges that meets the gate.

        If none does, that with the smallest excess over it.
        """
        met = [result for result in self._results if self._gate.excess(result[0].loss) <= 1]
        if met:
            return min(met, key=lambda result: len(result[0].kept_float))
        return min(self._results, key=lambda result: self._gate.excess(result[0].loss))

    def _try(self, kept_float: frozenset[str], training: Training | None = None) -> float:
        if training is None:
            candidate = self._quantizer(self._model, self._calibration, kept_float)
        else:
            candidate = training(self._quantizer(self._model, self._calibration, kept_float,
                                                 compress=False))
        loss = Loss.of(measure(candidate, self._samples, self._info))
        gain = speedup(candidate, self._model, self._calibration[0])
        names = tuple(self._names[node] for node in self._names if node in kept_float)
        self._results.append((Trial(names, loss, gain, training is not None), candidate))
        self._report(f'      {len(names)} layers without fixed ranges: {loss}, '
                     f'{gain:.2f} times as fast')
        return self._gate.excess(loss)

    def _layer_errors(self, model: 'openvino.Model',
                      layers: Sequence[Layer]) -> dict[str, float]:
        """
        Return the AbsRel of the model with only one layer quantized, for each layer.

        That of ``_WEIGHTS`` comes from the quantizers of no layer. The root mean square over
        images, because one bad image fails the gate.
        """
        chosen = self._calibration[::max(1, len(self._calibration) // _SEARCH_IMAGES)]
        every = frozenset(quantizer_nodes(model))
        # Not the original, whose weights differ by the rounding to fp16.
        samples = make_samples(without_quantizers(model, every), chosen[:_SEARCH_IMAGES])
        parts = {layer.node: layer.quantizers for layer in layers}
        parts[_WEIGHTS] = every.difference(*parts.values())
        errors, reported = {}, time.monotonic()
        for number, (node, quantizers) in enumerate(parts.items(), start=1):
            alone = without_quantizers(model, every - quantizers)
            results = measure(alone, samples, self._info, 'f32')
            errors[node] = math.sqrt(
                statistics.mean(result.abs_rel * result.abs_rel for result in results))
            if time.monotonic() - reported > _REPORT_EVERY_S:
                reported = time.monotonic()
                self._report(f'      {number} of {len(parts)} layers')
        return errors
