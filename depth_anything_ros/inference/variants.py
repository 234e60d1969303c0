"""The ways to run a model on this CPU, in f32, bf16 or INT8, and which of them is the fastest."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
import json
import math
from pathlib import Path
import time

from depth_anything_ros.errors import DepthAnythingError, ModelError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.inference.devices import fingerprint, is_bf16_in_doubt, open_core
from depth_anything_ros.inference.engine import Engine, EngineOptions, Size
from depth_anything_ros.inference.ir import error_reason, IrFiles, read_ir_files, read_model
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.model_info import ExecutionPrecision, ModelInfo
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image

# Rounds of a comparison, and the time after which the present one is the last.
_ROUNDS, _LONGEST_S = 5, 1.0
# The time, as a share of that of the model as OpenVINO prefers it, from which on another one runs.
_WORTH = 0.95
# What an INT8 version has in common with its model: how images become depth, and from what.
_SHARED = ('encoder', 'kind', 'max_depth_m', 'input_rule', 'mean_rgb', 'std_rgb', 'input_size',
           'fixed_size_hw', 'source_sha256', 'has_shift', 'focal_px', 'sky_threshold')


@dataclass(frozen=True)
class _Variant:
    """One way to run a model; ``name`` says which one."""

    files: IrFiles
    precision: ExecutionPrecision
    name: str


class ModelVariants:
    """
    A model in the precisions of this CPU, and NAME_int8.xml beside NAME.xml in the same ones.

    The converter writes an INT8 model only if it passes its gate, and every precision has its
    self-check, so all of them may run. A CPU that has bf16 need not be faster in it. ``warn`` gets
    a line for a file beside the model that cannot be used, ``report`` which variant runs and why.
    ModelError as ``read_ir_files``.
    """

    def __init__(self, model: Path | IrFiles, warn: Callable[[str], None],
                 report: Callable[[str], None]) -> None:
        self._model = read_ir_files(model)
        self._report = report
        self._int8 = _int8_beside(self._model, warn)
        self._fastest: _Variant | None = None

    def fastest(self, options: EngineOptions) -> tuple[IrFiles, EngineOptions]:
        """
        Return the files to run and the options to run them with.

        With precision auto, on the CPU alone, the variants are timed once, with the test image and
        in turns, and ``options.cache_dir`` keeps the result. Otherwise it is the model itself with
        ``options``. Raises the errors of Engine for the model.
        """
        if options.precision != 'auto' or set(options.devices) != {'CPU'}:
            return self._model, options
        if self._fastest is None:
            self._fastest = self._choose(self._variants(), options)
        return self._fastest.files, replace(options, precision=self._fastest.precision)

    def _variants(self) -> list[_Variant]:
        """Return all variants; the first is the model in the precision that OpenVINO prefers."""
        files = [self._model, *([self._int8] if self._int8 else [])]
        if not is_bf16_in_doubt():
            return [_Variant(one, 'auto', one.path.name) for one in files]
        precisions: tuple[tuple[ExecutionPrecision, str], ...] = (('auto', 'bf16'), ('f32', 'f32'))
        return [_Variant(one, precision, f'{one.path.name} in {name}')
                for one in files for precision, name in precisions]

    def _choose(self, variants: Sequence[_Variant], options: EngineOptions) -> _Variant:
        if len(variants) == 1:
            return variants[0]
        mark = self._mark(options)
        times = _known_times(mark, variants) or self._measured_times(variants, options)
        _remember(mark, times)
        chosen, *others = sorted((one for one in variants if one.name in times),
                                 key=lambda one: times[one.name])
        if times[chosen.name] > _WORTH:
            # A difference that the next start may not find again.
            return variants[0]
        self._report(f'precision auto runs {chosen.name}, which is '
                     f'{times[others[0].name] / times[chosen.name]:.2f} times as fast here as '
                     f'{others[0].name}')
        return chosen

    def _measured_times(self, variants: Sequence[_Variant], options: EngineOptions
                        ) -> dict[str, float]:
        """Return the time of an image by the name of each variant that works; 1 for the first."""
        first, *others = variants
        times = {first.name: 1.0}
        with closing(_opened(first, options)) as engine:
            for variant in others:
                try:
                    with closing(_opened(variant, options)) as other:
                        times[variant.name] = _relative_time(other, engine, options.image_hw)
                except (DepthAnythingError, RuntimeError) as error:
                    self._report(f'{variant.name} does not run instead of {first.name}: '
                                 f'{error_reason(error)}')
        return times

    def _mark(self, options: EngineOptions) -> Path | None:
        if options.cache_dir is None:
            return None
        key = fingerprint(open_core(), 'CPU', self._model.digest,
                          self._int8.digest if self._int8 else '', options.input_size,
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
            and all(getattr(int8, name) == getattr(info, name) for name in _SHARED))


def _opened(variant: _Variant, options: EngineOptions) -> Engine:
    return Engine(variant.files, replace(options, precision=variant.precision))


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


def _known_times(mark: Path | None, variants: Sequence[_Variant]) -> dict[str, float]:
    """Return the times in a mark that an earlier process wrote, {} without a sound one."""
    names = {variant.name for variant in variants}
    with suppress(OSError, ValueError, TypeError, AttributeError):
        if mark is not None:
            times = {str(name): float(value) for name, value in json.loads(
                mark.read_text(encoding='utf-8')).items()}
            if variants[0].name in times and times.keys() <= names and all(
                    0 < value < math.inf for value in times.values()):
                return times
    return {}


def _remember(mark: Path | None, times: Mapping[str, float]) -> None:
    """Write the mark, whose time is that of its last use."""
    # A cache that cannot be written has its warning already.
    with suppress(OSError):
        if mark is not None:
            with atomic_path(mark) as file:
                file.write_text(json.dumps(times), encoding='utf-8')
