"""The configurations of mode ``ladder``: their plan and their speed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, ExitStack
from dataclasses import dataclass
from functools import partial
import math
from pathlib import Path
import statistics
import time
from typing import cast

from depth_anything_ros.benchmark.report import interleaved, Log, ratio, Spread
from depth_anything_ros.errors import DepthAnythingError, line_of, ModelError
from depth_anything_ros.evaluate.predictions import ModelOptions, open_model
from depth_anything_ros.evaluate.results import Failure
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.ir import read_model_info
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.model_info import ExecutionPrecision, ModelInfo
from depth_anything_ros.vision.color_image import ColorImage
import numpy as np

IMAGE_HW = (480, 640)
PHASE_S, _MOST_IMAGES = 2.0, 100
_TIMEOUT_S = 300.0
# Compiled engines at a time. Each needs about 150 MiB with vits and several times that with vitl.
_TOGETHER = 8


@dataclass(frozen=True)
class Config:
    """
    A model in one precision at one input size, in pixels.

    ``line`` is the name of the model and its executed precision, which configurations that differ
    only in size share. ``precision`` is the requested one: auto, f32, bf16 or f16.
    """

    line: str
    size: int
    model: Path
    precision: ExecutionPrecision

    def __str__(self) -> str:
        return f'{self.line} {self.size}'

    @property
    def options(self) -> ModelOptions:
        """Return the options for an evaluation."""
        return ModelOptions(self.size, precision=self.precision)


@dataclass(frozen=True)
class Line:
    """A model in one precision: its name, the executed precision, and what its IR states."""

    model: str
    executed: str
    info: ModelInfo
    mib: float


@dataclass(frozen=True)
class Plan:
    """
    The configurations to measure, the lines by name, and the models that cannot run.

    ``reference`` gives the depth that others are compared with and need not be among ``configs``.
    """

    configs: tuple[Config, ...]
    lines: Mapping[str, Line]
    reference: Config
    left_out: tuple[Failure, ...]


def plan_configs(models: Sequence[Path], precisions: Sequence[ExecutionPrecision],
                 input_sizes: Sequence[int], teacher: Path | None = None) -> Plan:
    """
    Return the configurations to measure, without those that execute the same.

    A size of 0 is the model's own. An INT8 model runs in auto only, a model of a fixed size at
    that size only. The reference is the teacher, or else the first model that runs, in f32 (in
    auto if it is INT8) at its own size. DepthAnythingError if no model can run, ModelError if the
    teacher cannot be read.
    """
    lines: dict[str, Line] = {}
    configs: list[Config] = []
    left_out: list[Failure] = []
    reference = None if teacher is None else _reference(teacher, read_model_info(teacher))
    models = list(dict.fromkeys(models))
    for model in models:
        try:
            info = read_model_info(model)
            sizes = _sizes(info, input_sizes)
            found = {f'{model.stem} {executed}': precision
                     for executed, precision in _executed(model, info, precisions, min(sizes))}
            if not lines.keys().isdisjoint(found):
                raise ModelError(model, 'another model has the same name', 'rename one of the two')
        except DepthAnythingError as error:
            if len(models) == 1:
                raise
            left_out.append(Failure(model.name, line_of(error).removeprefix(f'{model}: ')))
            continue
        reference = reference or _reference(model, info)
        for line, precision in found.items():
            lines[line] = Line(model.stem, line.removeprefix(f'{model.stem} '), info, _mib(model))
            configs += [Config(line, size, model, precision) for size in sizes]
    if reference is None or not configs:
        raise DepthAnythingError(f'none of {len(models)} models can run: ' + '; '.join(
            f'{one.name}: {one.reason}' for one in left_out))
    return Plan(tuple(configs), lines, reference, tuple(left_out))


def _reference(model: Path, info: ModelInfo) -> Config:
    """Return what a model is as the reference: in f32 where it can be, at its own size."""
    line, precision = ('int8', 'auto') if info.precision == 'int8' else ('f32', 'f32')
    return Config(f'{model.stem} {line}', _sizes(info, (0,))[0], model,
                  cast(ExecutionPrecision, precision))


def _executed(model: Path, info: ModelInfo, precisions: Sequence[ExecutionPrecision],
              size: int) -> Iterator[tuple[str, ExecutionPrecision]]:
    """Yield (executed precision, first requested precision that executes it); auto comes first."""
    seen = set()
    requested: Sequence[ExecutionPrecision] = ('auto',) if info.precision == 'int8' else sorted(
        precisions, key=lambda precision: precision != 'auto')
    for precision in requested:
        with open_model(model, ModelOptions(size, precision=precision)) as depth_model:
            executed = ('int8' if info.precision == 'int8'
                        else depth_model.state.execution_precision)
        if executed not in seen:
            seen.add(executed)
            yield executed, precision


def _mib(model: Path) -> float:
    return sum(file.stat().st_size for file in (model, model.with_suffix('.bin'))) / 2 ** 20


def _sizes(info: ModelInfo, input_sizes: Sequence[int]) -> list[int]:
    if info.fixed_size_hw is not None:
        return [min(info.fixed_size_hw)]
    return list(dict.fromkeys(size or info.input_size for size in input_sizes))


@dataclass(frozen=True)
class Speed:
    """
    The time of an image [ms] and the network size.

    The time is the median of the first configuration over the whole run, times the ratio of both
    in the same round, so that the load of the machine counts the same for all.
    """

    ms: Spread
    network_hw: tuple[int, int]


def measure_speeds(configs: Sequence[Config], rounds: int,
                   log: Log) -> dict[Config, Speed | DepthAnythingError]:
    """Measure in groups, each beside the first configuration; an error for one that fails."""
    baseline, *others = configs
    own: list[float] = []
    ratios: dict[Config, Spread] = {}
    with closing(_Runner(baseline)) as first:
        runners = {baseline: first}
        for start in range(0, max(len(others), 1), _TOGETHER):
            group = {config: _Runner(config) for config in others[start:start + _TOGETHER]}
            runners |= group
            log(f'speed: {len(group)} configurations beside {baseline}')
            with ExitStack() as stack:
                for runner in group.values():
                    stack.enter_context(closing(runner))
                rates = interleaved({str(config): runner.rate for config, runner in (
                    (baseline, first), *group.items())}, rounds, log)
            if first.error is not None:
                raise first.error
            base = rates[str(baseline)]
            own += base
            ratios |= {config: ratio(base, rates[str(config)]) for config in group}
    median_ms = 1000 / statistics.median(own)
    times = {baseline: Spread.of([1000 / rate for rate in own])} | {
        config: Spread(*(median_ms * value for value in (one.median, one.low, one.high)))
        for config, one in ratios.items()}
    return {config: runners[config].error or Speed(times[config], runners[config].network_hw)
            for config in configs}


class _Runner:
    """
    The engine of a configuration, started by the first measurement.

    ``error`` is the reason why it cannot run; its rate is NaN then.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._engine: Engine | None = None
        self.network_hw = (0, 0)
        self.error: DepthAnythingError | None = None

    def rate(self) -> float:
        """Return images per second of one image at a time, after a warm-up image."""
        if self.error is not None:
            return math.nan
        image = ColorImage(np.full((*IMAGE_HW, 3), 127, np.uint8), 'bgr')
        try:
            if self._engine is None:
                self._engine = Engine(self._config.model, EngineOptions(
                    precision=self._config.precision, requests=1, timeout_s=_TIMEOUT_S,
                    input_size=self._config.size, image_hw=IMAGE_HW, self_check=False))
                self.network_hw = self._engine.state.network_hw
            run = partial(wait_for_one, partial(self._engine.submit, image))
            run()
            started, count = time.monotonic(), 0
            while count < _MOST_IMAGES and time.monotonic() < started + PHASE_S:
                run()
                count += 1
        except DepthAnythingError as error:
            self.error = error
            return math.nan
        return count / (time.monotonic() - started)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
