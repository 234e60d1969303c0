"""Another device, precision or input size while images keep flowing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
import threading

from depth_anything_ros.errors import DepthAnythingError, InferenceError
from depth_anything_ros.inference.engine import Engine, EngineOptions, Size
from depth_anything_ros.inference.ir import first_line
from depth_anything_ros.inference.pool import OnDone
from depth_anything_ros.inference.rate_engine import RateControlledEngine
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.process import lower_priority
from depth_anything_ros.vision.color_image import ColorImage

AnyEngine = Engine | RateControlledEngine
Failure = DepthAnythingError | RuntimeError


@dataclass(frozen=True)
class _Switch:
    options: EngineOptions
    image_sizes: tuple[Size, ...]
    done: Callable[[Failure | None], None]


class SwitchableEngine:
    """
    An engine whose options can change without a gap.

    The constructor makes the first engine and raises as Engine does; with ``options.rate_hz`` it
    is one that chooses its input size, and ``say`` gets what that measures and does. After
    ``switch`` the engine that runs goes on while a thread makes another; both take memory until
    the old one is closed. ``submit`` belongs to one thread at a time; everything else may be
    called from any.
    """

    def __init__(self, path: Path, options: EngineOptions,
                 log: Callable[[str], None] = lambda line: None,
                 say: Callable[[str], None] = lambda line: None) -> None:
        self._path = path
        self._log = log
        self._say = say
        self._options = options
        self._engine = self._start(options, None)
        self._state = threading.Lock()
        self._wanted: _Switch | None = None
        self._switching: threading.Thread | None = None
        self._closed = False

    @property
    def options(self) -> EngineOptions:
        """Return how the current engine runs."""
        return self._options

    @property
    def input_size(self) -> int:
        """Return the short side of the network's input at present."""
        return self._engine.input_size

    @property
    def capacity(self) -> int:
        """Return how many images may be in flight."""
        return self._engine.capacity

    @property
    def info(self) -> ModelInfo:
        """Return what the IR says about itself."""
        return self._engine.info

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
        """Start inference on the current engine; arguments and errors are those of Engine."""
        while True:
            engine = self._engine
            try:
                return engine.submit(image, on_done)
            except InferenceError:
                if engine is self._engine:
                    raise

    def switch(self, options: EngineOptions, image_sizes: Sequence[Size],
               done: Callable[[Failure | None], None]) -> None:
        """
        Run with ``options`` as soon as an engine with them is ready; returns at once.

        It is warmed up for ``image_sizes`` (height, width), the most recent last. A thread calls
        ``done`` with None once it has taken over, or with the reason why the old one goes on; it
        calls nothing if newer options overtake these or the engine is closed.
        """
        with self._state:
            if self._closed:
                return
            self._wanted = _Switch(options, tuple(image_sizes), done)
            if self._switching is None:
                self._switching = threading.Thread(target=self._switch, name='switch_engine',
                                                   daemon=True)
                self._switching.start()

    def close(self) -> None:
        """Wait for a switch under way and for what is in flight, release all; idempotent."""
        with self._state:
            self._closed = True
            self._wanted = None
            switching = self._switching
        if switching is not None and switching is not threading.current_thread():
            switching.join()
        self._engine.close()

    def _switch(self) -> None:
        while (wanted := self._next()) is not None:
            with lower_priority():
                engine, failure = self._make(wanted)
            with self._state:
                overtaken = self._closed or self._wanted is not None
                if engine is not None and not overtaken:
                    engine, self._engine, self._options = self._engine, engine, wanted.options
            if engine is not None:
                engine.close()
            if not overtaken:
                self._report(wanted, failure)

    def _next(self) -> _Switch | None:
        with self._state:
            wanted, self._wanted = self._wanted, None
            if wanted is None:
                self._switching = None
            return wanted

    def _start(self, options: EngineOptions, before: AnyEngine | None) -> AnyEngine:
        """Return an engine; times that the one before measured are not measured under load."""
        if not options.rate_hz:
            return Engine(self._path, options, self._log)
        known = before.measured if isinstance(before, RateControlledEngine) else None
        return RateControlledEngine(self._path, options, self._log, self._say, known)

    def _make(self, wanted: _Switch) -> tuple[AnyEngine | None, Failure | None]:
        """Return a warm engine, or why there is none; neither if the current one is as wanted."""
        if wanted.options == self._options:
            return None, None
        first, *others = wanted.image_sizes or (wanted.options.image_hw,)
        engine = None
        try:
            engine = self._start(replace(
                wanted.options, image_hw=first, self_check=self._needs_proof(wanted.options)),
                self._engine)
            for image_hw in others:
                engine.warm_up(image_hw)
        except Exception as error:  # noqa: B902 - whatever it is, the old engine goes on
            if engine is not None:
                engine.close()
            if isinstance(error, (DepthAnythingError, RuntimeError)):
                return None, error
            return None, InferenceError(first_line(error))
        return engine, None

    def _needs_proof(self, options: EngineOptions) -> bool:
        """Return whether to check the device: another size on the same one needs no more proof."""
        now = self._options
        return options.self_check and (
            (options.devices, options.precision) != (now.devices, now.precision))

    def _report(self, switch: _Switch, failure: Failure | None) -> None:
        try:
            switch.done(failure)
        except Exception as error:  # noqa: B902 - the receiver's fault must not end the thread
            self._log(f'{type(error).__name__} after the engine was changed: {error}')
