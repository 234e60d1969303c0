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
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image

# Rounds of a comparison, and the time after which the present one is the last.
_ROUNDS, _LONGEST_S = 5, 1.0
# The largest share of the model's time with which INT8 runs, and its name in the cache.
_WORTH, _SHARE = 0.95, 'share of the time'
# What an INT8 version need not have in common with its model; the rest says how images become
# depth, and from what. A self-check differs by the rounding of the machine that computed it.
_OWN = {'precision', 'quantization', 'converter_version', 'licence', 'source_name', 'self_check'}


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
        turns, and ``options.cache_dir`` keeps the result. Otherwise it is the model itself. Raises
        the errors of Engine for the model.
        """
        if self._int8 is None or options.precision != 'auto' or set(options.devices) != {'CPU'}:
            return self._model
        if self._fastest is None:
            self._fastest = self._choose(self._int8, options)
        return self._fastest

    def _choose(self, int8: IrFiles, options: EngineOptions) -> IrFiles:
        mark = self._mark(int8, options)
        share = _known_share(mark) or self._measured_share(int8, options)
        _remember(mark, share)
        if share > _WORTH:
            # A difference that the next start may not find again.
            return self._model
        self._report(f'precision auto runs {int8.path.name}, which is {1 / share:.2f} times as '
                     f'fast here as {self._model.path.name}')
        return int8

    def _measured_share(self, int8: IrFiles, options: EngineOptions) -> float:
        """Return the time of an image in INT8 ÷ that of the model, infinite if INT8 fails."""
        with closing(Engine(self._model, options)) as engine:
            try:
                with closing(Engine(int8, options)) as other:
                    return _relative_time(other, engine, options.image_hw)
            except (DepthAnythingError, RuntimeError) as error:
                self._report(f'{int8.path.name} does not run instead of {self._model.path.name}: '
                             f'{error_reason(error)}')
                return math.inf

    def _mark(self, int8: IrFiles, options: EngineOptions) -> Path | None:
        if options.cache_dir is None:
            return None
        key = fingerprint(open_core(), 'CPU', self._model.digest, int8.digest, options.input_size,
                          options.image_hw)
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


def _known_share(mark: Path | None) -> float | None:
    """Return the share in a mark that an earlier process wrote, None without a sound one."""
    with suppress(OSError, ValueError, TypeError, KeyError, OverflowError):
        if mark is not None:
            share = float(json.loads(mark.read_text(encoding='utf-8'))[_SHARE])
            return share if share > 0 else None
    return None


def _remember(mark: Path | None, share: float) -> None:
    """Write the mark, whose time is that of its last use."""
    # A cache that cannot be written has its warning already.
    with suppress(OSError):
        if mark is not None:
            with atomic_path(mark) as file:
                file.write_text(json.dumps({_SHARE: share}), encoding='utf-8')
