"""The rungs of a ladder: which model runs in which precision at which input size."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import re
import time

from depth_anything_ros.arrays import F32
from depth_anything_ros.benchmark.results import interleaved, ratio, Say, Spread
from depth_anything_ros.errors import ImageError, ModelError
from depth_anything_ros.evaluate.predictions import (
    open_engine, order_of_work, predict, Prediction, read_info, RunOptions)
from depth_anything_ros.evaluate.results import Failure, mean_of, score_all
from depth_anything_ros.evaluate.rgbd import evaluate_rgbd
from depth_anything_ros.evaluate.rgbd_folder import (
    open_folder, read_config, RgbdConfig, RgbdDataset)
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.vision.accuracy import DepthScores
from depth_anything_ros.vision.agreement import Agreement, agreement
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np

IMAGE_HW = (480, 640)
PHASE_S, _MOST_IMAGES = 2.0, 100
_TIMEOUT_S = 300.0
# Each compiled size takes some 150 MiB with an encoder of vits and several times that with vitl.
_TOGETHER = 8
_DESCRIPTION = 'dataset.yaml'


@dataclass(frozen=True)
class Rung:
    """
    A model in one precision at one input size, in pixels.

    ``line`` is what the rungs of one model in one precision have in common: the precision that is
    really executed (f32, bf16, int8), after the model's name where another model has that line.
    ``precision`` is what it is asked for: auto, f32, bf16 or f16.
    """

    line: str
    size: int
    model: Path
    precision: str

    def __str__(self) -> str:
        return f'{self.line} {self.size}'

    @property
    def options(self) -> RunOptions:
        """Return how an evaluation runs it."""
        return RunOptions(self.size, precision=self.precision)


@dataclass(frozen=True)
class Plan:
    """
    All rungs, and two of the first model at its own input size, which need not be among them.

    The depth of ``reference``, in f32, is what others lose from; ``yardstick``, in auto, has the
    speed 1. ``relative`` tells the kind of all models.
    """

    rungs: tuple[Rung, ...]
    reference: Rung
    yardstick: Rung
    relative: bool


def plan_rungs(models: Sequence[Path], precisions: Sequence[str],
               input_sizes: Sequence[int]) -> Plan:
    """
    Return what is to be measured; what is executed alike stands there once.

    An INT8 model runs in auto only, a model of a fixed size at that size only. ModelError if the
    first model is INT8, or another one of another kind or of the same name; DeviceError if one
    does not run.
    """
    infos = {model: read_info(model) for model in models}
    first, info = next(iter(infos.items()))
    if info.precision == 'int8':
        raise ModelError(first, 'it is INT8, which has no f32 depth to compare with',
                         'name an fp16 or fp32 model first')
    lines: dict[str, tuple[Path, str]] = {}
    for model, other in infos.items():
        if other.kind != info.kind:
            raise ModelError(model, f'it is {other.kind}, but {first} is {info.kind}',
                             'compare models of one kind')
        for executed, precision in _executed(model, other, precisions, min(input_sizes)):
            lines[_free_name(lines, model, executed)] = (model, precision)
    rungs = tuple(Rung(line, size, *run) for line, run in lines.items()
                  for size in _sizes(infos[run[0]], input_sizes))
    own = _sizes(info, (info.input_size,))[0]
    there = [rung for rung in rungs if rung.model == first and rung.size == own]
    return Plan(
        rungs,
        next((rung for rung in there if rung.line == 'f32'), Rung('f32', own, first, 'f32')),
        next((rung for rung in there if rung.precision == 'auto'),
             Rung('auto', own, first, 'auto')),
        info.kind == 'relative')


def _executed(model: Path, info: ModelInfo, precisions: Sequence[str],
              size: int) -> Iterator[tuple[str, str]]:
    """Yield (precision that is executed, the first that asks for it); auto asks before others."""
    seen = set()
    asked = ('auto',) if info.precision == 'int8' else sorted(
        precisions, key=lambda precision: precision != 'auto')
    for precision in asked:
        with closing(open_engine(model, RunOptions(size, precision=precision))) as engine:
            executed = 'int8' if info.precision == 'int8' else engine.execution_precision
        if executed not in seen:
            seen.add(executed)
            yield executed, precision


def _free_name(taken: dict[str, tuple[Path, str]], model: Path, executed: str) -> str:
    if executed not in taken:
        return executed
    name = f'{re.sub(r"[^a-z0-9]+", "_", model.stem.lower())}_{executed}'
    if name in taken:
        raise ModelError(model, f'{taken[name][0]} has the same name', 'rename one of the two')
    return name


def _sizes(info: ModelInfo, input_sizes: Sequence[int]) -> list[int]:
    if info.fixed_size_hw is not None:
        return [min(info.fixed_size_hw)]
    return list(dict.fromkeys(input_sizes))


@dataclass(frozen=True)
class Speed:
    """Images per second over those of the yardstick, the yardstick's, and the network's size."""

    relative: Spread
    yardstick_hz: Spread
    network_hw: tuple[int, int]


def measure_speeds(rungs: Sequence[Rung], yardstick: Rung, rounds: int,
                   say: Say) -> dict[Rung, Speed]:
    """Measure some rungs at a time, each group beside the yardstick; DeviceError if one fails."""
    speeds: dict[Rung, Speed] = {}
    with closing(_start(yardstick)) as engine:
        for first in range(0, len(rungs), _TOGETHER):
            group = rungs[first:first + _TOGETHER]
            say(f'speed: rungs {first + 1} to {first + len(group)} of {len(rungs)}')
            speeds |= _measure_group(group, yardstick, engine, rounds, say)
    return speeds


def _measure_group(group: Sequence[Rung], yardstick: Rung, yardstick_engine: Engine, rounds: int,
                   say: Say) -> dict[Rung, Speed]:
    with ExitStack() as stack:
        engines = {yardstick: yardstick_engine} | {
            rung: stack.enter_context(closing(_start(rung)))
            for rung in group if rung != yardstick}
        found = interleaved({str(rung): partial(_rate, engine)
                             for rung, engine in engines.items()}, rounds, say)
        base = found[str(yardstick)]
        return {rung: Speed(ratio(found[str(rung)], base), Spread.of(base),
                            engines[rung].network_hw) for rung in group}


def _start(rung: Rung) -> Engine:
    return Engine(rung.model, EngineOptions(
        precision=rung.precision, requests=1, timeout_s=_TIMEOUT_S, input_size=rung.size,
        image_hw=IMAGE_HW, self_check=False))


def _rate(engine: Engine) -> float:
    """Return images per second, one after the other, after one that is not counted."""
    image = ColorImage(np.full((*IMAGE_HW, 3), 127, np.uint8), 'bgr')
    wait_for_one(partial(engine.submit, image))
    started, count = time.monotonic(), 0
    while count < _MOST_IMAGES and time.monotonic() < started + PHASE_S:
        wait_for_one(partial(engine.submit, image))
        count += 1
    return count / (time.monotonic() - started)


@dataclass(frozen=True)
class Reference:
    """The maps [H, W] that ``rung`` gives for each of ``files``, of its network's size."""

    rung: Rung
    files: tuple[Path, ...]
    maps: Mapping[str, F32]
    relative: bool


def make_reference(rung: Rung, files: Sequence[Path], relative: bool) -> Reference:
    """Compute the maps that others are compared with; ImageError names a file that fails."""
    names = [str(file) for file in files]
    with closing(open_engine(rung.model, rung.options)) as engine:
        order = order_of_work(engine, files)
        maps, failed = score_all(names, order, predict(engine, files, order),
                                 lambda index, seen: seen.depth)
    _require_all(failed)
    return Reference(rung, tuple(files), {one.name: one.scores for one in maps}, relative)


def lost_to(reference: Reference, rung: Rung) -> float:
    """
    Return the mean AbsRel to the reference after alignment, each map at its image's size.

    The reference loses nothing to itself. ImageError names a file that fails.
    """
    if rung == reference.rung:
        return 0.0
    files = reference.files

    def score(index: int, seen: Prediction) -> Agreement:
        found, expected = (resize_depth(depth, seen.image_bgr.shape[:2])
                           for depth in (seen.depth, reference.maps[str(files[index])]))
        return agreement(found, expected, reference.relative)

    with closing(open_engine(rung.model, rung.options)) as engine:
        order = order_of_work(engine, files)
        images, failed = score_all([str(file) for file in files], order,
                                   predict(engine, files, order), score)
    _require_all(failed)
    return mean_of(images).abs_rel


def open_truth(folder: Path) -> RgbdDataset:
    """
    Return an RGB-D folder as its dataset.yaml describes it.

    Without that file: rgb_*.png and depth_*.png in millimetres, of which 0.1 to 10 m count.
    DatasetError if there are none.
    """
    described = folder / _DESCRIPTION
    return open_folder(folder, read_config(described) if described.is_file() else RgbdConfig(
        'rgb_*.png', 'depth_*.png', 1000.0, DepthRange(0.1, 10.0)))


def score_on(dataset: RgbdDataset, rung: Rung) -> DepthScores:
    """Return the mean scores on measured depth; ImageError names a file that fails."""
    found = evaluate_rgbd(rung.model, dataset, rung.options)
    _require_all(found.failed)
    return found.mean


def _require_all(failed: Sequence[Failure]) -> None:
    """Refuse what would compare rungs over different images."""
    if failed:
        raise ImageError(f'{failed[0].name}: {failed[0].reason}; take it out of the folder')
