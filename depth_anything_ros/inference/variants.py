"""A model and its INT8 version, and which of them is faster on this CPU."""

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import fields
from functools import partial
import json
import math
from pathlib import Path
import time

from depth_anything_ros.errors import DepthAnythingError, ModelError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.inference.devices import fingerprint, open_core
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.ir import error_reason, IrFiles, read_ir_files, read_model
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.model_info import ModelInfo, Size
from depth_anything_ros.process import usable_cores
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image

# Rounds of a comparison, and the time after which the present one is the last.
_ROUNDS, _LONGEST_S = 5, 1.0
# The largest share of the model's time with which INT8 runs.
_WORTH = 0.95
# In the marks of the cache.
_SHARE, _REFUSAL = 'share of the time', 'refused by the self-check'
# What an INT8 version need not have in common with its model; the rest says how images become
# depth, and from what. A self-check differs by the rounding of the machine that computed it.
_OWN = {'precision', 'quantization', 'converter_version', 'licence', 'source_name', 'self_check'}

# The time of an image in INT8 ÷ that of the model, or the reason why INT8 does not run.
_Comparison = float | str


class ModelVariants:
    """
    A model, and NAME_int8.xml beside NAME.xml, of which the faster one runs.

    The converter writes an INT8 model only if it passes its gate, or with `quantize --force`, and
    both have their self-check, so both may run. ``warn`` gets a line for a file beside the model
    that cannot be used, ``report`` that the INT8 version runs, or why it does not. ModelError as
    ``read_ir_files``.
    """

    def __init__(self, model: Path | IrFiles, warn: Callable[[str], None],
                 report: Callable[[str], None]) -> None:
        self._model = read_ir_files(model)
        self._report = report
        self._int8 = _int8_beside(self._model, warn)
        self._fastest: IrFiles | None = None

    def fastest(self, options: EngineOptions) -> IrFiles:
        """
        Return the files to run.

        With precision auto, on the CPU alone, both are timed once, with the test image and in
        turns, and ``options.cache_dir`` keeps the result, also that the self-check refuses the
        INT8 version. Otherwise it is the model itself. Raises the errors of Engine for the model.
        """
        if self._int8 is None or options.precision != 'auto' or set(options.devices) != {'CPU'}:
            return self._model
        if self._fastest is None:
            self._fastest = self._choose(self._int8, options)
        return self._fastest

    def _choose(self, int8: IrFiles, options: EngineOptions) -> IrFiles:
        mark = self._mark(int8, options)
        found, lasts = _known(mark), True
        if found is None:
            found, lasts = self._compare(int8, options)
        if lasts:
            _remember(mark, found)
        if isinstance(found, str):
            self._report(f'{int8.path.name} does not run instead of {self._model.path.name}: '
                         f'{found}')
            return self._model
        if found > _WORTH:
            # A difference that the next start may not find again.
            return self._model
        self._report(f'precision auto runs {int8.path.name}, which is {1 / found:.2f} times as '
                     f'fast here as {self._model.path.name}')
        return int8

    def _compare(self, int8: IrFiles, options: EngineOptions) -> tuple[_Comparison, bool]:
        """Return what the next starts may use too, or False with an error that may pass."""
        with closing(Engine(self._model, options)) as engine:
            try:
                with closing(Engine(int8, options)) as other:
                    return _relative_time(other, engine, options.image_hw), True
            except (DepthAnythingError, RuntimeError) as error:
                # The self-check refuses a model; everything else may be the machine's fault.
                return error_reason(error), isinstance(error.__cause__, ModelError)

    def _mark(self, int8: IrFiles, options: EngineOptions) -> Path | None:
        if options.cache_dir is None:
            return None
        key = fingerprint(open_core(), 'CPU', self._model.digest, int8.digest, options.input_size,
                          options.image_hw, options.threads or usable_cores())
        return options.cache_dir / f'fastest_{key[:16]}.json'


def _int8_beside(model: IrFiles, warn: Callable[[str], None]) -> IrFiles | None:
    path = model.path.with_name(f'{model.path.stem}_int8.xml')
    if not path.is_file():
        return None
    core = open_core()
    try:
        info = read_model(core, model)[1]
        files = read_ir_files(path)
        int8 = read_model(core, files)[1]
    except ModelError as error:
        warn(f'the INT8 version beside the model is not used: {error}')
        return None
    if _is_version_of(int8, info):
        return files
    if info.quantization is None:
        warn(f'{path.name} is not used: it was not made of the same model as {model.path.name}; '
             f'make it with `depth_anything_convert quantize {model.path.name}` or rename it')
    return None


def _is_version_of(int8: ModelInfo, info: ModelInfo) -> bool:
    return (info.quantization is None and int8.quantization is not None
            and all(getattr(int8, field.name) == getattr(info, field.name)
                    for field in fields(ModelInfo) if field.name not in _OWN))


def _relative_time(engine: Engine, first: Engine, image_hw: Size) -> float:
    """Return the time of an image ÷ that of ``first``, at the best of each."""
    image = ColorImage(self_check_image(image_hw), 'bgr')
    best = {engine: math.inf, first: math.inf}
    begin = time.monotonic()
    for _ in range(_ROUNDS):
        for one in (first, engine):
            started = time.monotonic()
            wait_for_one(partial(one.submit, image))
            best[one] = min(best[one], time.monotonic() - started)
        if time.monotonic() - begin > _LONGEST_S:
            break
    return best[engine] / best[first]


def _known(mark: Path | None) -> _Comparison | None:
    """Return what an earlier process wrote into a mark, None without a sound one."""
    with suppress(OSError, ValueError, TypeError, KeyError, OverflowError):
        if mark is not None:
            found = json.loads(mark.read_text(encoding='utf-8'))
            if _REFUSAL in found:
                return str(found[_REFUSAL])
            share = float(found[_SHARE])
            return share if 0 < share < math.inf else None
    return None


def _remember(mark: Path | None, found: _Comparison) -> None:
    """Write the mark, whose time is that of its last use."""
    name = _REFUSAL if isinstance(found, str) else _SHARE
    # A cache that cannot be written has its warning already.
    with suppress(OSError):
        if mark is not None:
            with atomic_path(mark) as file:
                file.write_text(json.dumps({name: found}), encoding='utf-8')
