"""A model and its INT8 version beside it, and which of them is faster on this CPU."""

from collections.abc import Callable
from contextlib import closing, ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
import time

from depth_anything_ros.errors import DepthAnythingError, ModelError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.inference.devices import fingerprint, open_core
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.ir import error_reason, IrFiles, read_ir_files, read_model
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image

_ROUNDS = 5
# What an INT8 version has in common with its model: how images become depth, and from what.
_SHARED = ('encoder', 'kind', 'max_depth_m', 'input_rule', 'mean_rgb', 'std_rgb', 'input_size',
           'fixed_size_hw', 'source_sha256', 'has_shift', 'focal_px', 'sky_threshold')


class ModelVariants:
    """
    A model, and NAME_int8.xml beside NAME.xml where the converter made both of the same source.

    The converter writes an INT8 model only if it passes its gate, so both may run. ``warn`` gets a
    line for a file beside the model that cannot be used, ``report`` which one runs and why.
    ModelError as ``read_ir_files``.
    """

    def __init__(self, model: Path | IrFiles, warn: Callable[[str], None],
                 report: Callable[[str], None]) -> None:
        self._model = read_ir_files(model)
        self._report = report
        self._int8 = _int8_beside(self._model, warn)

    def fastest(self, options: EngineOptions) -> IrFiles:
        """
        Return the files to run with ``options``.

        With precision auto, on the CPU alone, both are timed with the test image, in turns, and
        ``options.cache_dir`` keeps the result; otherwise, and where the INT8 version fails, it is
        the model itself. Raises the errors of Engine for that.
        """
        if self._int8 is None or options.precision != 'auto' or set(options.devices) != {'CPU'}:
            return self._model
        ratio = _known_ratio(marker := self._marker(self._int8, options))
        if ratio is None:
            try:
                ratio = _times(self._model, self._int8, options)
            except (DepthAnythingError, RuntimeError) as error:
                self._report(f'{self._int8.path.name} does not run instead of '
                             f'{self._model.path.name}: {error_reason(error)}')
                return self._model
            _remember(marker, ratio)
        chosen, other = (self._int8, self._model) if ratio > 1 else (self._model, self._int8)
        self._report(f'precision auto runs {chosen.path.name}, which is '
                     f'{max(ratio, 1 / ratio):.2f} times as fast here as {other.path.name}')
        return chosen

    def _marker(self, int8: IrFiles, options: EngineOptions) -> Path | None:
        if options.cache_dir is None:
            return None
        key = fingerprint(open_core(), 'CPU', self._model.digest, int8.digest, options.input_size,
                          options.image_hw)
        return options.cache_dir / f'int8_{key[:16]}.ratio'


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


def _times(model: IrFiles, int8: IrFiles, options: EngineOptions) -> float:
    """Return how many times as fast as the model its INT8 version is, at the best of each."""
    image = ColorImage(self_check_image(options.image_hw), 'bgr')
    seconds: tuple[list[float], list[float]] = ([], [])
    with ExitStack() as last_to_first:
        engines = [last_to_first.enter_context(closing(Engine(files, replace(options, rate_hz=0))))
                   for files in (model, int8)]
        for _ in range(_ROUNDS):
            for engine, found in zip(engines, seconds):
                started = time.monotonic()
                wait_for_one(partial(engine.submit, image))
                found.append(time.monotonic() - started)
    return min(seconds[0]) / min(seconds[1])


def _known_ratio(marker: Path | None) -> float | None:
    with suppress(OSError, ValueError):
        if marker is not None:
            ratio = float(marker.read_text(encoding='utf-8'))
            # The time of its last use.
            marker.touch()
            return ratio if ratio > 0 else None
    return None


def _remember(marker: Path | None, ratio: float) -> None:
    # A cache that cannot be written has its warning already.
    with suppress(OSError):
        if marker is not None:
            with atomic_path(marker) as file:
                file.write_text(f'{ratio:.3f}', encoding='utf-8')
