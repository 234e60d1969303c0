"""One model at several input sizes, each in an engine of its own."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
import threading
import time

from depth_anything_ros.errors import InferenceTimeoutError
from depth_anything_ros.inference.engine import Engine, EngineOptions, Size
from depth_anything_ros.inference.ir import first_line, read_model
from depth_anything_ros.inference.pool import OnDone, Outcome
from depth_anything_ros.inference.rate_control import (
    Choice, choose, ladder, longest_s, RateControl, seconds_of, Step)
from depth_anything_ros.process import lower_priority
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.transforms import network_size
import numpy as np

_HELP = ('take an INT8 model (`depth_anything_convert quantize`), a smaller encoder, fewer '
         'cameras or a lower target_rate')


class InputSizeEngines:
    """
    The engines that exist of a ladder of input sizes; rung 0 is the largest.

    The first engine finds the device and proves it, the others take the same. A model of one
    fixed size has one rung. All methods belong to one thread at a time, but ``is_ready``.
    """

    def __init__(self, path: Path, options: EngineOptions, log: Callable[[str], None]) -> None:
        import openvino as ov
        self._path = path
        self._options = options
        self._log = log
        self._engines: dict[int, Engine] = {}
        _, self.info = read_model(ov.Core(), path)
        largest = options.input_size or self.info.input_size
        self.sizes = ((largest,) if self.info.fixed_size_hw else
                      ladder(largest, self.info.patch_multiple))

    @property
    def pixels(self) -> tuple[int, ...]:
        """Return the pixels of the network on each rung, for the first image size."""
        sizes_hw = (network_size(self._options.image_hw, size, self.info.patch_multiple)
                    for size in self.sizes)
        return tuple(height * width for height, width in sizes_hw)

    def engine(self, rung: int) -> Engine:
        """Return the engine of a rung, compiled for the first image size if it is new."""
        if rung not in self._engines:
            self._open(rung, self._options.image_hw)
        return self._engines[rung]

    def prepare(self, rung: int, image_hw: Size) -> None:
        """Let the rung compute an image of this size once; raises what went wrong."""
        if rung in self._engines:
            self._engines[rung].warm_up(image_hw)
        else:
            self._open(rung, image_hw)

    def is_ready(self, rung: int, image_hw: Size) -> bool:
        """Return whether the rung computes such an image without compiling anything."""
        engine = self._engines.get(rung)
        return engine is not None and engine.is_compiled_for(image_hw)

    def keep(self, rungs: Collection[int]) -> None:
        """Close the engines of all other rungs."""
        for rung in set(self._engines) - set(rungs):
            self._engines.pop(rung).close()

    def _open(self, rung: int, image_hw: Size) -> None:
        engine = Engine(self._path, replace(
            self._options, input_size=self.sizes[rung], image_hw=image_hw), self._log)
        self._options = replace(self._options, devices=(engine.device,), self_check=False)
        self._engines[rung] = engine


class RateControlledEngine:
    """
    What Engine does, at the largest input size that gives ``options.rate_hz`` images a second.

    The constructor measures and chooses, or reckons with ``known`` times of another PacedEngine;
    it raises as Engine does. From the first image on a thread keeps the next smaller and the next
    larger size compiled for the last ``sizes_kept`` image sizes, so that a step costs no frame.
    ``log`` gets what is wrong, ``say`` what is measured, chosen and changed. ``submit`` and
    ``warm_up`` belong to one thread at a time; everything else may be called from any.
    """

    def __init__(self, path: Path, options: EngineOptions, log: Callable[[str], None],
                 say: Callable[[str], None], known: Mapping[int, float] | None = None,
                 measure: Callable[[Callable[[], object]], float] = seconds_of) -> None:
        self._options = options
        self._log = log
        self._say = say
        self._measure = measure
        self._state = threading.Lock()
        self._preparing: threading.Thread | None = None
        self._closed = False
        self._image_sizes: tuple[Size, ...] = ()
        self._last_done = float('-inf')
        self._rungs = InputSizeEngines(path, options, log)
        self.info = self._rungs.info
        self._adapts = len(self._rungs.sizes) > 1
        try:
            choice = self._choose(known or {})
            self._engine = self._rungs.engine(choice.rung)
        except BaseException:
            self._rungs.keep(())
            raise
        self.measured = choice.measured
        self._policy = RateControl(options.rate_hz, choice.seconds, choice.rung)

    @property
    def input_size(self) -> int:
        """Return the short side of the network's input at present."""
        return self._engine.input_size

    @property
    def capacity(self) -> int:
        """Return how many images may be in flight."""
        return self._engine.capacity

    @property
    def device(self) -> str:
        """Return the device of the list that works."""
        return self._engine.device

    @property
    def execution_device(self) -> str:
        """Return the device that OpenVINO says it runs on."""
        return self._engine.execution_device

    @property
    def execution_precision(self) -> str:
        """Return the precision that OpenVINO says it computes in."""
        return self._engine.execution_precision

    @property
    def network_hw(self) -> Size:
        """Return the network's size for the last image."""
        return self._engine.network_hw

    def submit(self, image: ColorImage, on_done: OnDone) -> None:
        """Start inference at the present input size; arguments and errors are those of Engine."""
        engine, image_hw, started = self._engine, image.size_hw, time.monotonic()

        def done(outcome: Outcome) -> None:
            # In this order: the first image of a size may have waited for the compiler.
            if isinstance(outcome, np.ndarray):
                self._note(image_hw)
            self._observe(engine, started, outcome)
            on_done(outcome)

        engine.submit(image, done)

    def warm_up(self, image_hw: Size) -> None:
        """Compile the present input size for such images; raises what went wrong."""
        self._engine.warm_up(image_hw)

    def close(self) -> None:
        """Wait for a size that compiles and for what is in flight, release all; idempotent."""
        with self._state:
            self._closed = True
            preparing = self._preparing
        if preparing is not None:
            preparing.join()
        self._rungs.keep(())

    def _choose(self, known: Mapping[int, float]) -> Choice:
        sizes, rate_hz = self._rungs.sizes, self._options.rate_hz
        fixed_hw = self.info.fixed_size_hw
        if fixed_hw is not None:
            self._log(f'target_rate has no effect: the model takes {fixed_hw[1]}x{fixed_hw[0]} '
                      'only; convert it without a fixed size')
            return Choice(0, (1.0,), {})
        limit_s = longest_s(rate_hz)
        choice = choose(self._rungs.pixels, limit_s, self._time, known)
        hz = [1 / seconds for seconds in choice.seconds]
        how = 'reckoned' if known else 'measured'
        found = (f'input_size {sizes[choice.rung]}: {hz[choice.rung]:.1f} images/s {how} for '
                 f'{rate_hz:g} with a tenth to spare')
        if choice.seconds[choice.rung] > limit_s:
            self._log(f'{found}; even this smallest size is too slow: {_HELP}')
        elif choice.rung:
            self._say(f'{found}; {sizes[choice.rung - 1]} would give {hz[choice.rung - 1]:.1f}')
        else:
            self._say(f'{found}; it is the largest allowed')
        return choice

    def _time(self, rung: int) -> float:
        """Return the seconds of one image; of the engines measured only this one stays."""
        size = self._rungs.sizes[rung]
        self._say(f'looking for the input_size that gives {self._options.rate_hz:g} images/s: '
                  f'measuring {size}')
        engine = self._rungs.engine(rung)
        self._rungs.keep((rung,))
        return self._measure(partial(engine.warm_up, self._options.image_hw))

    def _note(self, image_hw: Size) -> None:
        """Have the neighbouring input sizes prepared for an image size that is new."""
        with self._state:
            is_new = image_hw not in self._image_sizes
            others = (size for size in self._image_sizes if size != image_hw)
            self._image_sizes = (*others, image_hw)[-self._options.sizes_kept:]
            if is_new:
                self._wake()

    def _observe(self, engine: Engine, started: float, outcome: Outcome) -> None:
        now = time.monotonic()
        with self._state:
            seconds, self._last_done = now - max(started, self._last_done), now
            counts = isinstance(outcome, (np.ndarray, InferenceTimeoutError))
            if (not counts or engine is not self._engine or self._preparing is not None
                    or not self._adapts or self._closed):
                return
            step = self._policy.observe(now, seconds)
            if step is not None:
                self._take(step)

    def _take(self, step: Step) -> None:
        before = self.input_size
        self._engine = self._rungs.engine(step.rung)
        self._say(f'input_size {before} -> {self.input_size}: {step.possible_hz:.1f} images/s '
                  f'possible, {self._options.rate_hz:g} wanted, {step.expected_hz:.1f} expected')
        self._wake()

    def _wake(self) -> None:
        if self._adapts and not self._closed and self._preparing is None:
            self._preparing = threading.Thread(target=self._prepare, name='prepare_sizes',
                                               daemon=True)
            self._preparing.start()

    def _prepare(self) -> None:
        """Prepare what a step may need; meanwhile nothing is judged, because it takes time."""
        try:
            self._rungs.keep(self._near())
            while (missing := self._missing()) is not None:
                with lower_priority():
                    self._rungs.prepare(*missing)
        except Exception as error:  # noqa: B902 - whatever it is, the present size goes on
            self._adapts = False
            self._log(f'input_size stays {self.input_size} whatever the load: {first_line(error)}')

    def _missing(self) -> tuple[int, Size] | None:
        """Return a rung and an image size to prepare; None ends the thread."""
        with self._state:
            for rung in self._near():
                for image_hw in self._image_sizes:
                    if (not self._closed and rung != self._policy.rung
                            and not self._rungs.is_ready(rung, image_hw)):
                        return rung, image_hw
            self._preparing = None
            self._policy.restart()
            return None

    def _near(self) -> range:
        """Return the present rung and its neighbours."""
        rung = self._policy.rung
        return range(max(0, rung - 1), min(len(self._rungs.sizes), rung + 2))
