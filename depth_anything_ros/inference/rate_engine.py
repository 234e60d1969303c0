"""One model at several input sizes, and the engine that changes them to reach an image rate."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
import threading
import time

from depth_anything_ros.errors import DepthAnythingError, InferenceTimeoutError
from depth_anything_ros.inference.engine import Engine, EngineOptions, EngineState
from depth_anything_ros.inference.ir import (
    error_reason, IrFiles, read_ir_files, read_model)
from depth_anything_ros.inference.pool import OnDone, Outcome
from depth_anything_ros.inference.rate_control import (
    allowed_seconds, candidate_input_sizes, choose_input_size, InputSizeChange, InputSizeChoice,
    median_seconds, RateControl)
from depth_anything_ros.model_info import Size
from depth_anything_ros.process import lower_priority
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.transforms import model_input_hw
import numpy as np

_HELP = ('use an INT8 model (`depth_anything_convert quantize`), a smaller encoder, fewer '
         'cameras or a lower target_rate')
# The input size stays as long as this after an image that one of its neighbours refuses.
_STAYS_S = 30.0
_MOST_REFUSED = 100


class InputSizeEngines:
    """
    The engines of one model, one for each input size that is in use.

    ``sizes`` are the possible input sizes [px], the largest first; the methods take their index.
    The first engine finds a device that works and checks it, the others use the same one. A model
    of a fixed size has one entry. All methods but ``is_ready`` must be called from one thread at
    a time.
    """

    def __init__(self, model: Path | IrFiles, options: EngineOptions,
                 warn: Callable[[str], None]) -> None:
        import openvino as ov
        self._files = read_ir_files(model)
        self._options = options
        self._warn = warn
        self._engines: dict[int, Engine] = {}
        _, self.info = read_model(ov.Core(), self._files)
        largest = options.input_size or self.info.input_size
        self.sizes = ((largest,) if self.info.fixed_size_hw else
                      candidate_input_sizes(largest, self.info.patch_multiple))

    @property
    def pixels(self) -> tuple[int, ...]:
        """Return the number of network pixels of every input size, for the first image size."""
        sizes_hw = (model_input_hw(self.info, self._options.image_hw, size)
                    for size in self.sizes)
        return tuple(height * width for height, width in sizes_hw)

    def engine(self, index: int) -> Engine:
        """Return the engine of an input size; a new one is compiled for the first image size."""
        if index not in self._engines:
            self._open(index, self._options.image_hw)
        return self._engines[index]

    def prepare(self, index: int, image_hw: Size) -> None:
        """Compile an input size for such images and compute one; raises the engine's errors."""
        if index in self._engines:
            self._engines[index].warm_up(image_hw)
        else:
            self._open(index, image_hw)

    def is_ready(self, index: int, image_hw: Size) -> bool:
        """Return whether such an image needs no compilation at this input size."""
        engine = self._engines.get(index)
        return engine is not None and engine.is_compiled_for(image_hw)

    def keep(self, indices: Collection[int]) -> None:
        """Close the engines of all other input sizes."""
        for index in set(self._engines) - set(indices):
            self._engines.pop(index).close()

    def _open(self, index: int, image_hw: Size) -> None:
        engine = Engine(self._files, replace(
            self._options, input_size=self.sizes[index], image_hw=image_hw), self._warn)
        self._options = replace(self._options, devices=(engine.state.device,), self_check=False)
        self._engines[index] = engine


class RateControlledEngine:
    """
    An engine at the largest input size that computes ``options.rate_hz`` images per second.

    The constructor measures some input sizes and chooses one. On the device of ``before``, an
    engine with the same model and precision, it measures nothing and uses the times of that. It
    raises the errors of Engine. From the first image on, a thread keeps the next smaller and the
    next larger size compiled for the last ``sizes_kept`` image sizes, so that a change delays no
    frame. ``warn`` gets problems, ``report`` what is measured, chosen and changed. ``submit`` and
    ``warm_up`` must be called from one thread at a time; everything else may be called from any
    thread.
    """

    def __init__(self, model: Path | IrFiles, options: EngineOptions, warn: Callable[[str], None],
                 report: Callable[[str], None], before: 'RateControlledEngine | None' = None,
                 measure: Callable[[Callable[[], object]], float] = median_seconds) -> None:
        self._options = options
        self._warn = warn
        self._report = report
        self._measure = measure
        self._lock = threading.Lock()
        self._preparing: threading.Thread | None = None
        self._closed = False
        self._image_sizes: tuple[Size, ...] = ()
        # Index of an input size, and a size of images that it refuses.
        self._refused: set[tuple[int, Size]] = set()
        self._refused_at = float('-inf')
        self._last_done = float('-inf')
        self._engines = InputSizeEngines(model, options, warn)
        self.info = self._engines.info
        self._may_change = len(self._engines.sizes) > 1
        try:
            choice = self._choose(before)
            self._engine = self._engines.engine(choice.index)
        except BaseException:
            self._engines.keep(())
            raise
        self._measured_seconds = choice.measured
        self._rate_control = RateControl(options.rate_hz, choice.seconds, choice.index)

    @property
    def state(self) -> EngineState:
        """Return what runs now; ``input_size`` is the present one."""
        return self._engine.state

    @property
    def capacity(self) -> int:
        """Return how many images may be in flight."""
        return self._engine.capacity

    def submit(self, image: ColorImage, on_done: OnDone) -> None:
        """Start inference at the present input size; arguments and errors as in Engine."""
        engine, image_hw, started = self._engine, image.size_hw, time.monotonic()

        def done(outcome: Outcome) -> None:
            try:
                # In this order: the first image of a size may have waited for its compilation.
                if isinstance(outcome, np.ndarray):
                    self._prepare_for(image_hw)
                self._observe(engine, image_hw, started, outcome)
            except Exception as error:  # noqa: B902 - the image must be answered
                self._give_up(error)
            on_done(outcome)

        engine.submit(image, done)

    def warm_up(self, image_hw: Size) -> None:
        """Compile the present input size for such images; raises the engine's errors."""
        self._engine.warm_up(image_hw)

    def close(self) -> None:
        """Wait for a compilation and for the images in flight, release everything; idempotent."""
        with self._lock:
            self._closed = True
            preparing = self._preparing
        if preparing is not None:
            preparing.join()
        self._engines.keep(())

    def _choose(self, before: 'RateControlledEngine | None') -> InputSizeChoice:
        sizes, rate_hz = self._engines.sizes, self._options.rate_hz
        fixed_hw = self.info.fixed_size_hw
        if fixed_hw is not None:
            self._warn(f'target_rate has no effect: the model takes {fixed_hw[1]}x{fixed_hw[0]} '
                       'only; convert it without a fixed size')
            return InputSizeChoice(0, (1.0,), {})
        limit_s = allowed_seconds(rate_hz)
        known = self._known_seconds(before, limit_s)
        choice = choose_input_size(self._engines.pixels, limit_s, self._measured_seconds_of, known)
        hz = [1 / seconds for seconds in choice.seconds]
        found = (f'input_size {sizes[choice.index]} reaches {hz[choice.index]:.1f} images/s '
                 f'({"predicted" if known else "measured"}); target_rate needs '
                 f'{rate_hz:g}, {1 / limit_s:.1f} with the margin')
        if choice.seconds[choice.index] > limit_s:
            self._warn(f'{found}; even this smallest size is too slow: {_HELP}')
        elif choice.index:
            self._report(f'{found}; input_size {sizes[choice.index - 1]} would reach '
                         f'{hz[choice.index - 1]:.1f}')
        else:
            self._report(f'{found}; it is the largest size allowed')
        return choice

    def _known_seconds(self, before: 'RateControlledEngine | None',
                       limit_s: float) -> Mapping[int, float]:
        """Return the times [s] of ``before`` by pixels; none if it runs on another device."""
        if before is None or not before._measured_seconds:
            return {}
        known = before._measured_seconds
        index = choose_input_size(self._engines.pixels, limit_s, self._measured_seconds_of,
                                  known).index
        is_same = self._engines.engine(index).state.device == before.state.device
        return known if is_same else {}

    def _measured_seconds_of(self, index: int) -> float:
        """Return the time [s] of one image; closes the engines of the other input sizes."""
        self._report(f'measuring input_size {self._engines.sizes[index]} for '
                     f'{self._options.rate_hz:g} images/s')
        engine = self._engines.engine(index)
        self._engines.keep((index,))
        return self._measure(partial(engine.warm_up, self._options.image_hw))

    def _prepare_for(self, image_hw: Size) -> None:
        """Prepare the next smaller and larger input size for an image size that is new."""
        with self._lock:
            is_new = image_hw not in self._image_sizes
            others = (size for size in self._image_sizes if size != image_hw)
            self._image_sizes = (*others, image_hw)[-self._options.sizes_kept:]
            if is_new:
                self._start_preparing()

    def _observe(self, engine: Engine, image_hw: Size, started: float, outcome: Outcome) -> None:
        now = time.monotonic()
        with self._lock:
            if any((index, image_hw) in self._refused for index in self._neighbours()):
                self._refused_at = now
            seconds, self._last_done = now - max(started, self._last_done), now
            counts = isinstance(outcome, (np.ndarray, InferenceTimeoutError))
            if (not counts or engine is not self._engine or self._preparing is not None
                    or not self._may_change or self._closed
                    or now - self._refused_at < _STAYS_S):
                return
            change = self._rate_control.observe(now, seconds)
            if change is not None:
                self._apply(change)

    def _apply(self, change: InputSizeChange) -> None:
        before = self.state.input_size
        self._engine = self._engines.engine(change.index)
        self._report(f'input_size {before} -> {self.state.input_size}: '
                     f'{change.possible_hz:.1f} images/s possible, {self._options.rate_hz:g} '
                     f'wanted, {change.expected_hz:.1f} expected')
        self._start_preparing()

    def _start_preparing(self) -> None:
        if self._may_change and not self._closed and self._preparing is None:
            preparing = threading.Thread(target=self._prepare, name='prepare_sizes', daemon=True)
            preparing.start()
            self._preparing = preparing

    def _prepare(self) -> None:
        """Compile what a change may need; meanwhile no image counts, because this slows them."""
        try:
            self._engines.keep(self._neighbours())
            while (missing := self._next_missing()) is not None:
                try:
                    with lower_priority():
                        self._engines.prepare(*missing)
                except DepthAnythingError as error:
                    self._refuse(missing, error)
        except Exception as error:  # noqa: B902 - the present size must keep running
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._may_change = False
        self._warn(f'input_size stays {self.state.input_size} under any load: '
                   f'{error_reason(error)}')

    def _refuse(self, refused: tuple[int, Size], error: DepthAnythingError) -> None:
        """Let the input size stay while such images come, which a neighbour cannot take."""
        with self._lock:
            if len(self._refused) == _MOST_REFUSED:
                self._refused.clear()
            self._refused.add(refused)
        index, (height, width) = refused
        self._warn(f'input_size stays {self.state.input_size} while {width}x{height} images come, '
                   f'because {self._engines.sizes[index]} is impossible: {error_reason(error)}')

    def _next_missing(self) -> tuple[int, Size] | None:
        """Return the index of an input size and an image size to prepare; None ends the thread."""
        with self._lock:
            for index in self._neighbours():
                for image_hw in self._image_sizes:
                    if (not self._closed and index != self._rate_control.index
                            and (index, image_hw) not in self._refused
                            and not self._engines.is_ready(index, image_hw)):
                        return index, image_hw
            self._preparing = None
            self._rate_control.restart()
            return None

    def _neighbours(self) -> range:
        """Return the indices of the present input size, the next larger and the next smaller."""
        index = self._rate_control.index
        return range(max(0, index - 1), min(len(self._engines.sizes), index + 2))
