"""The rungs of a ladder: which model runs in which precision at which input size."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
import re

from depth_anything_ros.errors import ModelError
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.tools.evaluation.predictions import open_engine, read_info, RunOptions


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
