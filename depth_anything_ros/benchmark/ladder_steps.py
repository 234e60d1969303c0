"""The configurations of mode ``ladder``: their plan, their speed and their accuracy."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import re
import time

from depth_anything_ros.arrays import F32
from depth_anything_ros.benchmark.report import interleaved, Log, ratio, Spread
from depth_anything_ros.errors import ImageError, ModelError
from depth_anything_ros.evaluate.predictions import ModelOptions, open_model, Prediction
from depth_anything_ros.evaluate.results import Failure, mean_of, score_files
from depth_anything_ros.evaluate.rgbd import evaluate_rgbd
from depth_anything_ros.evaluate.rgbd_folder import (
    open_folder, read_config, RgbdConfig, RgbdDataset)
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.ir import read_model_info
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.model_info import ExecutionPrecision, ModelInfo
from depth_anything_ros.vision.accuracy import DepthScores
from depth_anything_ros.vision.agreement import Agreement, agreement
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np

IMAGE_HW = (480, 640)
PHASE_S, _MOST_IMAGES = 2.0, 100
_TIMEOUT_S = 300.0
# Compiled engines at a time. Each needs about 150 MiB with vits and several times that with vitl.
_TOGETHER = 8
_DESCRIPTION = 'dataset.yaml'


@dataclass(frozen=True)
class Config:
    """
    A model in one precision at one input size, in pixels.

    ``line`` is the executed precision (f32, bf16, int8), with the name of the model before it if
    another model has the same; configurations that differ only in size share it. ``precision`` is
    the requested one: auto, f32, bf16 or f16.
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
class Plan:
    """
    The configurations to measure, and two that they are compared with.

    Both are of the first model at its own input size and need not be among ``configs``:
    ``reference``, in f32, gives the depth and ``baseline``, in auto, the speed that others are
    compared with. ``relative`` is whether the models are of kind relative.
    """

    configs: tuple[Config, ...]
    reference: Config
    baseline: Config
    relative: bool


def plan_configs(models: Sequence[Path], precisions: Sequence[ExecutionPrecision],
                 input_sizes: Sequence[int]) -> Plan:
    """
    Return the configurations to measure, without those that execute the same.

    An INT8 model runs in auto only, a model of a fixed size at that size only. ModelError if the
    first model is INT8, or if two models differ in kind or have the same name; DeviceError if one
    does not run.
    """
    infos = {model: read_model_info(model) for model in models}
    first, info = next(iter(infos.items()))
    if info.precision == 'int8':
        raise ModelError(first, 'it is INT8, which has no f32 depth to compare with',
                         'name an fp16 or fp32 model first')
    lines: dict[str, tuple[Path, ExecutionPrecision]] = {}
    for model, other in infos.items():
        if other.kind != info.kind:
            raise ModelError(model, f'it is {other.kind}, but {first} is {info.kind}',
                             'compare models of one kind')
        for executed, precision in _executed(model, other, precisions, min(input_sizes)):
            lines[_free_name(lines, model, executed)] = (model, precision)
    configs = tuple(Config(line, size, *run) for line, run in lines.items()
                    for size in _sizes(infos[run[0]], input_sizes))
    own = _sizes(info, (info.input_size,))[0]
    there = [config for config in configs if config.model == first and config.size == own]
    return Plan(
        configs,
        next((config for config in there if config.line == 'f32'),
             Config('f32', own, first, 'f32')),
        next((config for config in there if config.precision == 'auto'),
             Config('auto', own, first, 'auto')),
        info.kind == 'relative')


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


def _free_name(used: Mapping[str, tuple[Path, str]], model: Path, executed: str) -> str:
    if executed not in used:
        return executed
    name = f'{re.sub(r"[^a-z0-9]+", "_", model.stem.lower())}_{executed}'
    if name in used:
        raise ModelError(model, f'{used[name][0]} has the same name', 'rename one of the two')
    return name


def _sizes(info: ModelInfo, input_sizes: Sequence[int]) -> list[int]:
    if info.fixed_size_hw is not None:
        return [min(info.fixed_size_hw)]
    return list(dict.fromkeys(input_sizes))


@dataclass(frozen=True)
class Speed:
    """Speed relative to the baseline, images/s of the baseline, and the network size."""

    relative: Spread
    baseline_hz: Spread
    network_hw: tuple[int, int]


def measure_speeds(configs: Sequence[Config], baseline: Config, rounds: int,
                   log: Log) -> dict[Config, Speed]:
    """Measure in groups, each beside the baseline; DeviceError if a configuration fails."""
    speeds: dict[Config, Speed] = {}
    with closing(_start(baseline)) as engine:
        for first in range(0, len(configs), _TOGETHER):
            group = configs[first:first + _TOGETHER]
            log(f'speed: {first + 1} to {first + len(group)} of {len(configs)}')
            speeds |= _measure_group(group, baseline, engine, rounds, log)
    return speeds


def _measure_group(group: Sequence[Config], baseline: Config, baseline_engine: Engine, rounds: int,
                   log: Log) -> dict[Config, Speed]:
    with ExitStack() as stack:
        engines = {baseline: baseline_engine} | {
            config: stack.enter_context(closing(_start(config)))
            for config in group if config != baseline}
        found = interleaved({str(config): partial(_rate, engine)
                             for config, engine in engines.items()}, rounds, log)
        base = found[str(baseline)]
        return {config: Speed(ratio(found[str(config)], base), Spread.of(base),
                              engines[config].state.network_hw) for config in group}


def _start(config: Config) -> Engine:
    return Engine(config.model, EngineOptions(
        precision=config.precision, requests=1, timeout_s=_TIMEOUT_S, input_size=config.size,
        image_hw=IMAGE_HW, self_check=False))


def _rate(engine: Engine) -> float:
    """Return images per second of one image at a time, after a warm-up image."""
    image = ColorImage(np.full((*IMAGE_HW, 3), 127, np.uint8), 'bgr')
    wait_for_one(partial(engine.submit, image))
    started, count = time.monotonic(), 0
    while count < _MOST_IMAGES and time.monotonic() < started + PHASE_S:
        wait_for_one(partial(engine.submit, image))
        count += 1
    return count / (time.monotonic() - started)


@dataclass(frozen=True)
class Reference:
    """The depth [H, W] of each file by its name, at the network size of ``config``."""

    config: Config
    files: tuple[Path, ...]
    maps: Mapping[str, F32]
    relative: bool


def make_reference(config: Config, files: Sequence[Path], relative: bool) -> Reference:
    """Compute the depth that others are compared with; ImageError names a file that fails."""
    names = [str(file) for file in files]
    with open_model(config.model, config.options) as depth_model:
        maps, failed = score_files(depth_model, files, names, lambda index, found: found.depth)
    _require_all(failed)
    return Reference(config, tuple(files), {one.name: one.scores for one in maps}, relative)


def lost_to(reference: Reference, config: Config) -> float:
    """
    Return the mean AbsRel to the reference after alignment, at the size of each image.

    That is 0 for the reference itself. ImageError names a file that fails.
    """
    if config == reference.config:
        return 0.0
    files = reference.files

    def score(index: int, prediction: Prediction) -> Agreement:
        found, expected = (resize_depth(depth, prediction.image_bgr.shape[:2])
                           for depth in (prediction.depth, reference.maps[str(files[index])]))
        return agreement(found, expected, reference.relative)

    with open_model(config.model, config.options) as depth_model:
        images, failed = score_files(depth_model, files, [str(file) for file in files], score)
    _require_all(failed)
    return mean_of(images).abs_rel


def open_truth(folder: Path) -> RgbdDataset:
    """
    Return the RGB-D data of a folder, described by its dataset.yaml.

    Without that file: rgb_*.png and depth_*.png in millimetres, valid from 0.1 to 10 m.
    DatasetError if there are none.
    """
    described = folder / _DESCRIPTION
    return open_folder(folder, read_config(described) if described.is_file() else RgbdConfig(
        'rgb_*.png', 'depth_*.png', 1000.0, DepthRange(0.1, 10.0)))


def score_on(dataset: RgbdDataset, config: Config) -> DepthScores:
    """Return the mean scores on measured depth; ImageError names a file that fails."""
    found = evaluate_rgbd(config.model, dataset, config.options)
    _require_all(found.failed)
    return found.mean


def _require_all(failed: Sequence[Failure]) -> None:
    """Raise ImageError if an image failed: all configurations need the same images."""
    if failed:
        raise ImageError(f'{failed[0].name}: {failed[0].reason}; remove it from the folder')
